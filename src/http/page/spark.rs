//! A figure's past as a small line.

use std::fmt::Write as _;

use super::state::Figure;

/// The times that a sparkline may span, in seconds: a young daemon's few samples are not lost in an empty quarter of an hour.
pub(super) const SPARK_SECONDS: [f64; 4] = [60.0, 120.0, 300.0, 900.0];

/// A small line without axes, as paths on a field of 100 by 30.
#[derive(Default)]
pub(super) struct Spark {
    pub line: String,
    pub area: String,
    pub bound: String,
}

impl Spark {
    pub fn of(figure: &Figure, top: Option<f64>) -> Spark {
        let most = figure.past.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
        let limit = figure.limit.unwrap_or(f64::INFINITY);
        let top = top.unwrap_or_else(|| {
            // A limit far above everything would press the line to the ground.
            let high = if most > limit / 5.0 { (most * 1.1).max(limit * 1.1) } else { most * 1.1 };
            if high > 0.0 { high } else { 1.0 }
        });
        let y = |value: f64| 30.0 - (value.clamp(0.0, top) / top) * 30.0;
        let oldest = figure.past.first().map_or(0.0, |(age, _)| *age);
        let width = SPARK_SECONDS.into_iter().find(|width| *width >= oldest).unwrap_or(SPARK_SECONDS[3]);
        let mut spark = Spark::default();
        let mut begun: Option<f64> = None;
        for (age, value) in figure.past.iter().filter(|(age, _)| (0.0..=width).contains(age)) {
            let x = 100.0 - age / width * 100.0;
            match (value, begun) {
                (Some(value), None) => {
                    let _ = write!(spark.line, "M{x:.1} {:.1}", y(*value));
                    let _ = write!(spark.area, "M{x:.1} 30V{:.1}", y(*value));
                    begun = Some(x);
                }
                (Some(value), Some(_)) => {
                    let _ = write!(spark.line, "L{x:.1} {:.1}", y(*value));
                    let _ = write!(spark.area, "L{x:.1} {:.1}", y(*value));
                }
                (None, Some(start)) => {
                    let _ = write!(spark.area, "V30H{start:.1}Z");
                    begun = None;
                }
                (None, None) => {}
            }
        }
        if let Some(start) = begun {
            let _ = write!(spark.area, "V30H{start:.1}Z");
        }
        if limit <= top {
            let _ = write!(spark.bound, "M0 {:.1}H100", y(limit));
        }
        spark
    }
}
