//! What was measured of the model's quantised form. What was not measured has no line.

use prometheus::{GaugeVec, IntGauge, Opts, Registry};

use super::register;
use crate::core::standing::Standing;

/// The gauges of a qualification.
#[derive(Clone)]
pub(super) struct QualificationMetrics {
    qualified: IntGauge,
    agreement: GaugeVec,
    speedup: GaugeVec,
    at: GaugeVec,
}

impl QualificationMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<QualificationMetrics> {
        let by =
            |name: &str, help: &str, labels: &[&str]| register(registry, GaugeVec::new(Opts::new(name, help), labels)?);
        Ok(QualificationMetrics {
            qualified: super::gauge(
                registry,
                "model_qualified",
                "1 while this box has measured that the quantised form is right and faster.",
            )?,
            agreement: by(
                "model_qualification_agreement",
                "Agreement of the quantised form with the original, 0 to 1.",
                &[],
            )?,
            speedup: by(
                "model_qualification_speedup_ratio",
                "How many times as fast as the original the quantised form is: the median, and the ends of its 95 % interval.",
                &["bound"],
            )?,
            at: by("model_qualification_timestamp_seconds", "When that was measured.", &[])?,
        })
    }

    pub(super) fn observe(&self, standing: &Standing) {
        self.qualified.set(i64::from(standing.is_accepted()));
        for vec in [&self.agreement, &self.speedup, &self.at] {
            vec.reset();
        }
        let Some(receipt) = standing.receipt() else { return };
        self.at.with_label_values::<&str>(&[]).set(receipt.at_ms as f64 / 1000.0);
        if let Some(agreement) = receipt.measured.agreement {
            self.agreement.with_label_values::<&str>(&[]).set(agreement);
        }
        if let Some(speedup) = receipt.measured.speedup {
            for (bound, value) in [("median", speedup.median), ("low", speedup.low), ("high", speedup.high)] {
                self.speedup.with_label_values(&[bound]).set(value);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::qualify::{Key, Measured, Speedup, Verdict};
    use crate::core::standing::Receipt;

    pub fn measured() -> Standing {
        let key = Key {
            original: String::new(),
            candidate: String::new(),
            runtime: String::new(),
            cpu: String::new(),
            threads: 1,
            session: String::new(),
            samples: String::new(),
        };
        let speedup = Some(Speedup { median: 2.0, low: 1.9, high: 2.1, pairs: 60 });
        let measured = Measured { agreement: Some(0.99), speedup, ..Measured::default() };
        let receipt = Box::new(Receipt { key, measured, at_ms: 5000, allowed_seconds: 60.0 });
        Standing::Measured { receipt, verdict: Verdict::Accepted }
    }

    #[test]
    fn what_is_not_known_any_more_has_no_line() {
        let registry = Registry::new();
        let metrics = QualificationMetrics::new(&registry).unwrap();
        let lines = || registry.gather().iter().map(|family| family.get_metric().len()).sum::<usize>();
        metrics.observe(&measured());
        assert_eq!((lines(), metrics.qualified.get()), (6, 1));
        metrics.observe(&Standing::Measuring);
        assert_eq!((lines(), metrics.qualified.get()), (1, 0));
    }
}
