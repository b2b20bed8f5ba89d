//! Which form of the model is served, and why: a rule over what the configuration prefers and what is known of the
//! quantised form.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::qualify::{Bounds, Key, Measured, Verdict, judge};

/// Which form is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// The quantised form once this box has measured that it is right and faster.
    #[default]
    Qualified,
    /// The quantised form wherever it loads.
    Quantized,
    /// The original, and nothing is measured.
    Original,
}

impl Prefer {
    /// The word for the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Prefer::Qualified => "qualified",
            Prefer::Quantized => "quantized",
            Prefer::Original => "original",
        }
    }
}

impl fmt::Display for Prefer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What was measured of a candidate, what it holds for, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// What it holds for.
    pub key: Key,
    /// What was measured.
    pub measured: Measured,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Seconds that it was allowed to take.
    pub allowed_seconds: f64,
}

/// A candidate that was taken back, and is refused until it is told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relapse {
    /// SHA-256 of its file.
    pub candidate: String,
    /// What it did.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Relapse {
    /// Whether the file was measured again since it was taken back: what was known before it failed in service cannot speak
    /// for it any more.
    pub fn is_answered_by(&self, receipt: &Receipt) -> bool {
        receipt.key.candidate == self.candidate && receipt.at_ms > self.at_ms
    }
}

/// What is known of the quantised form.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Standing {
    /// Nothing is asked: the original is preferred.
    #[default]
    Off,
    /// There is none.
    Absent {
        /// Where it was looked for.
        path: String,
    },
    /// It is there, and cannot be served.
    Unusable {
        /// Why.
        reason: String,
    },
    /// It is being measured, or about to be.
    Measuring,
    /// It could not be measured.
    Unmeasured {
        /// Why.
        reason: String,
    },
    /// It was measured.
    Measured {
        /// What was found.
        receipt: Box<Receipt>,
        /// What that means by the bounds in force.
        verdict: Verdict,
    },
    /// It was in service and was taken back.
    RolledBack(Relapse),
}

impl Standing {
    /// What a receipt means by these bounds.
    pub fn by(receipt: Receipt, bounds: &Bounds) -> Standing {
        let verdict = judge(&receipt.measured, bounds);
        Standing::Measured { receipt: Box::new(receipt), verdict }
    }

    /// The word for status and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Standing::Off => "off",
            Standing::Absent { .. } => "absent",
            Standing::Unusable { .. } => "unusable",
            Standing::Measuring => "measuring",
            Standing::Unmeasured { .. } => "unmeasured",
            Standing::Measured { verdict, .. } => verdict.name(),
            Standing::RolledBack(_) => "rolled_back",
        }
    }

    /// Whether the quantised form is to be served.
    pub fn is_preferred(&self, prefer: Prefer) -> bool {
        match (prefer, self) {
            (Prefer::Original, _) => false,
            (_, Standing::Off | Standing::Absent { .. } | Standing::Unusable { .. }) => false,
            (Prefer::Quantized, _) => true,
            (Prefer::Qualified, standing) => standing.is_accepted(),
        }
    }

    /// Whether it was measured and nothing stands against it.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Standing::Measured { verdict: Verdict::Accepted, .. })
    }

    /// Whether it was measured and is bad.
    pub fn is_failure(&self) -> bool {
        matches!(self, Standing::Measured { verdict: Verdict::Refused(_), .. })
    }

    /// The receipt, where there is one.
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Standing::Measured { receipt, .. } => Some(receipt),
            _ => None,
        }
    }

    /// Why the form that is served is that one, in one clause.
    pub fn why(&self, prefer: Prefer, quantized: bool) -> String {
        let known = match self {
            Standing::Off => format!("model.prefer is {prefer}"),
            Standing::Absent { path } => format!("no quantised form is there ({path})"),
            Standing::Unusable { reason } => format!("the quantised form cannot be served: {reason}"),
            Standing::Measuring => "the quantised form is being measured".to_owned(),
            Standing::Unmeasured { reason } => format!("the quantised form could not be measured: {reason}"),
            Standing::Measured { receipt, verdict: Verdict::Accepted } => {
                format!("qualified on this box: {}", figures(receipt))
            }
            Standing::Measured { verdict, .. } => {
                format!("the quantised form is {}: {}", verdict.name(), verdict.objections())
            }
            Standing::RolledBack(relapse) => format!("the quantised form was taken back: {}", relapse.reason),
        };
        match (prefer, quantized) {
            (Prefer::Quantized, true) => format!("preferred by model.prefer; {known}"),
            _ => known,
        }
    }
}

fn figures(receipt: &Receipt) -> String {
    let Measured { agreement, agreement_text, speedup, frames, .. } = &receipt.measured;
    let agrees = agreement
        .map(|agreement| format!("it agrees to {:.2} % on {frames} frames ({agreement_text})", agreement * 100.0));
    let faster = speedup.map(|speedup| format!("it is {speedup}"));
    agrees.into_iter().chain(faster).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::qualify::{Objection, Speedup};

    fn measured(verdict: Verdict) -> Standing {
        let key = Key {
            original: "a".to_owned(),
            candidate: "b".to_owned(),
            runtime: "1.31.1".to_owned(),
            cpu: "x86_64".to_owned(),
            threads: 1,
            session: String::new(),
            samples: String::new(),
        };
        let measured = Measured {
            agreement: Some(0.996),
            agreement_text: "top".to_owned(),
            speedup: Some(Speedup { median: 2.0, low: 1.9, high: 2.1, pairs: 60 }),
            frames: 50,
            ..Measured::default()
        };
        Standing::Measured { receipt: Box::new(Receipt { key, measured, at_ms: 1, allowed_seconds: 60.0 }), verdict }
    }

    fn all() -> Vec<Standing> {
        let text = || "x".to_owned();
        let against = || vec![Objection::Unmeasured { cut_short: false }];
        vec![
            Standing::Off,
            Standing::Absent { path: text() },
            Standing::Unusable { reason: text() },
            Standing::Measuring,
            Standing::Unmeasured { reason: text() },
            measured(Verdict::Accepted),
            measured(Verdict::Unproven(against())),
            measured(Verdict::Refused(against())),
            Standing::RolledBack(Relapse { candidate: text(), reason: text(), at_ms: 0 }),
        ]
    }

    #[test]
    fn what_is_preferred_follows_the_rule() {
        let preferred = |prefer| {
            all().iter().filter(|standing| standing.is_preferred(prefer)).map(Standing::name).collect::<Vec<_>>()
        };
        assert_eq!(preferred(Prefer::Qualified), ["accepted"]);
        let by_the_user = ["measuring", "unmeasured", "accepted", "unproven", "refused", "rolled_back"];
        assert_eq!(preferred(Prefer::Quantized), by_the_user);
        assert!(preferred(Prefer::Original).is_empty());
    }

    #[test]
    fn only_a_receipt_made_after_it_was_taken_back_answers_for_it() {
        let standing = measured(Verdict::Accepted);
        let receipt = standing.receipt().unwrap();
        let relapse = |candidate: &str, at_ms| Relapse { candidate: candidate.into(), reason: "canary".into(), at_ms };
        assert!(relapse("b", 0).is_answered_by(receipt));
        assert!(!relapse("b", 1).is_answered_by(receipt) && !relapse("b", 2).is_answered_by(receipt));
        assert!(!relapse("c", 0).is_answered_by(receipt));
    }

    #[test]
    fn each_standing_has_a_reason_of_its_own() {
        let reasons: std::collections::BTreeSet<String> =
            all().iter().map(|standing| standing.why(Prefer::Qualified, false)).collect();
        assert_eq!(reasons.len(), all().len());
        let accepted = measured(Verdict::Accepted);
        assert_eq!(
            accepted.why(Prefer::Qualified, true),
            "qualified on this box: it agrees to 99.60 % on 50 frames (top), it is 2.00 times as fast (1.90 to 2.10)"
        );
        assert!(accepted.why(Prefer::Quantized, true).starts_with("preferred by model.prefer; qualified"));
    }
}
