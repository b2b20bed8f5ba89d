//! Whether a quantised form of a model may take the original's place on this box: both right and faster, each measured.
//!
//! The speed-up is the median of the ratios of alternated pairs; its 95 % interval is that of a median by order
//! statistics, which asks nothing of the distribution and lets a few disturbed pairs do no harm.
//! Source: W. J. Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tensor::{ModelSpec, TensorSpec};

/// The most that a bound of the interval may lie outside of by chance, on each side.
const TAIL: f64 = 0.025;
/// From so many pairs on the binomial distribution is taken as a normal one.
const MANY: usize = 500;
/// The 97.5th percentile of the normal distribution.
const NORMAL: f64 = 1.959_964;

/// One run of each on the same input, one right after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What the original took.
    pub original: Duration,
    /// What the candidate took.
    pub candidate: Duration,
}

/// How many times as fast the candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speedup {
    /// The median of the pairs' ratios.
    pub median: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The pairs behind it.
    pub pairs: usize,
}

impl fmt::Display for Speedup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.2} times as fast ({:.2} to {:.2})", self.median, self.low, self.high)
    }
}

/// The speed-up that these pairs show; `None` where they are too few for an interval (fewer than 6).
pub fn speedup(pairs: &[Pair]) -> Option<Speedup> {
    let ratio = |pair: &Pair| pair.original.as_secs_f64() / pair.candidate.as_secs_f64();
    let mut ratios: Vec<f64> = pairs.iter().map(ratio).filter(|ratio| ratio.is_finite() && *ratio > 0.0).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (count, rank) = (ratios.len(), low_rank(ratios.len())?);
    let at = |index: usize| ratios.get(index).copied();
    Some(Speedup {
        median: (at((count - 1) / 2)? + at(count / 2)?) / 2.0,
        low: at(rank - 1)?,
        high: at(count - rank)?,
        pairs: count,
    })
}

/// The rank, from 1, of the order statistic that is the lower end of the median's interval: the largest r for which fewer
/// than r of `count` fair coins show heads with a probability of at most [`TAIL`].
fn low_rank(count: usize) -> Option<usize> {
    let many = count as f64;
    if count > MANY {
        return Some(((many - NORMAL * many.sqrt()) / 2.0).floor() as usize);
    }
    let mut term = 0.5f64.powi(i32::try_from(count).ok()?);
    let (mut below, mut rank) = (term, 0);
    while below <= TAIL && rank < count / 2 {
        rank += 1;
        term *= (many - rank as f64 + 1.0) / rank as f64;
        below += term;
    }
    (rank > 0).then_some(rank)
}

/// What was measured of one candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How far its answers agree with the original's, 0 to 1; `None` where none could be compared.
    pub agreement: Option<f64>,
    /// What that counts, in words.
    pub agreement_text: String,
    /// The least agreement that is asked for where the configuration leaves it open.
    pub agreement_target: f64,
    /// How many times as fast it is.
    pub speedup: Option<Speedup>,
    /// Real frames that quantising did not use, on which it was held against the original.
    pub frames: usize,
    /// Real frames left out because quantising used them.
    pub frames_used: usize,
    /// Why there are no real frames, where there are none.
    pub no_frames: Option<String>,
    /// Frames on which it gave no answer though the original did, and why it gave none on the first.
    pub failed: Option<(usize, String)>,
    /// The median of the original's runs in milliseconds.
    pub original_ms: f64,
    /// Of the candidate's.
    pub candidate_ms: f64,
    /// What measuring took.
    pub seconds: f64,
    /// Whether its time was over before it was done.
    pub cut_short: bool,
}

/// What is asked of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Real frames that quantising did not use, at least.
    pub min_samples: usize,
    /// Agreement, at least; 0: what its kind of answer asks for.
    pub min_agreement: f64,
    /// The lower end of the speed-up's interval, at least.
    pub min_speedup: f64,
}

/// What stands against a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Objection {
    /// It gave no answer where the original did.
    Failed {
        /// How often.
        times: usize,
        /// Why, the first time.
        reason: String,
    },
    /// Its answers differ.
    Agreement {
        /// The agreement.
        found: f64,
        /// What is asked for.
        wanted: f64,
        /// What it counts.
        text: String,
    },
    /// It is not faster, or not surely so.
    Speed {
        /// The speed-up.
        found: Speedup,
        /// What is asked for.
        wanted: f64,
    },
    /// Too few pairs for an interval.
    Unmeasured {
        /// Whether for want of time.
        cut_short: bool,
    },
    /// Too few real frames that quantising did not use.
    Frames {
        /// How many there are.
        found: usize,
        /// How many it used.
        used: usize,
        /// How many are asked for.
        wanted: usize,
        /// Whether the others were not reached in time.
        cut_short: bool,
        /// Why there are none, where there are none.
        none: Option<String>,
    },
}

impl Objection {
    /// Whether it says that the candidate is bad, and not only that too little is known of it.
    pub fn is_failure(&self) -> bool {
        matches!(self, Objection::Failed { .. } | Objection::Agreement { .. } | Objection::Speed { .. })
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objection::Failed { times, reason } => {
                write!(formatter, "it gives no answer on {times} of the frames that the original answers: {reason}")
            }
            Objection::Agreement { found, wanted, text } => {
                write!(
                    formatter,
                    "it agrees to {:.2} % ({text}), and {:.2} % are asked for",
                    found * 100.0,
                    wanted * 100.0
                )
            }
            Objection::Speed { found, wanted } => {
                write!(formatter, "it is {found}, and the lower end must reach {wanted:.2}")
            }
            Objection::Unmeasured { cut_short: true } => {
                formatter.write_str("its speed could not be measured in time; see model.qualify.max_seconds")
            }
            Objection::Unmeasured { cut_short: false } => formatter.write_str("its speed could not be measured"),
            Objection::Frames { none: Some(why), wanted, .. } => write!(
                formatter,
                "it was measured on made-up inputs only ({why}): name at least {wanted} real frames with \
                 model.qualify.samples"
            ),
            Objection::Frames { found, used, wanted, cut_short, none: None } => {
                let left_out =
                    if *used > 0 { format!(", {used} that quantising used left out") } else { String::new() };
                let end = if *cut_short { "; its time was over, see model.qualify.max_seconds" } else { "" };
                write!(
                    formatter,
                    "it was held against the original on {found} real frames{left_out}, and {wanted} are asked for{end}"
                )
            }
        }
    }
}

/// The verdict on a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is right and faster.
    Accepted,
    /// Nothing bad is known of it, and too little that is good.
    Unproven(Vec<Objection>),
    /// It is not.
    Refused(Vec<Objection>),
}

impl Verdict {
    /// The word for status and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Unproven(_) => "unproven",
            Verdict::Refused(_) => "refused",
        }
    }

    /// All that stands against it, in one clause; empty where nothing does.
    pub fn objections(&self) -> String {
        match self {
            Verdict::Accepted => String::new(),
            Verdict::Unproven(all) | Verdict::Refused(all) => {
                all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// Holds what was measured against what is asked for.
pub fn judge(measured: &Measured, bounds: &Bounds) -> Verdict {
    let mut against = Vec::new();
    let is_real = measured.frames > 0;
    let wanted = if bounds.min_agreement > 0.0 { bounds.min_agreement } else { measured.agreement_target };
    if let Some((times, reason)) = &measured.failed {
        against.push(Objection::Failed { times: *times, reason: reason.clone() });
    }
    // What two models make of noise says nothing of what they make of frames.
    if let Some(found) = measured.agreement.filter(|found| is_real && falls_short(*found, wanted)) {
        against.push(Objection::Agreement { found, wanted, text: measured.agreement_text.clone() });
    }
    match measured.speedup {
        None => against.push(Objection::Unmeasured { cut_short: measured.cut_short }),
        Some(found) if falls_short(found.low, bounds.min_speedup) => {
            against.push(Objection::Speed { found, wanted: bounds.min_speedup });
        }
        Some(_) => {}
    }
    if measured.frames < bounds.min_samples || !is_real {
        against.push(Objection::Frames {
            found: measured.frames,
            used: measured.frames_used,
            wanted: bounds.min_samples,
            cut_short: measured.cut_short,
            none: measured.no_frames.clone(),
        });
    }
    match against.as_slice() {
        [] => Verdict::Accepted,
        all if all.iter().any(Objection::is_failure) => Verdict::Refused(against),
        _ => Verdict::Unproven(against),
    }
}

/// What is not a number reaches nothing.
fn falls_short(found: f64, wanted: f64) -> bool {
    found < wanted || found.is_nan()
}

/// What a receipt holds for: change one of it, and it is made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the original's file.
    pub original: String,
    /// SHA-256 of the candidate's.
    pub candidate: String,
    /// The version of ONNX Runtime.
    pub runtime: String,
    /// The architecture and those features of the processor that matter to 8-bit arithmetic.
    pub cpu: String,
    /// Threads with which both were measured.
    pub threads: usize,
    /// How sessions are made else, where that bears on what they answer and take.
    #[serde(default)]
    pub session: String,
    /// What the golden samples are, in one digest; empty where there are none.
    pub samples: String,
}

/// Whether a receipt still stands: for the same key, and, where its time was over too soon, for no more time than it had.
pub fn stands(key: &Key, measured: &Measured, allowed_seconds: f64, wanted: &Key, max_seconds: f64) -> bool {
    key == wanted && (!measured.cut_short || max_seconds <= allowed_seconds)
}

/// Whether a candidate takes and gives what the original does.
///
/// # Errors
/// The first difference, in words.
pub fn same_interface(original: &ModelSpec, candidate: &ModelSpec) -> Result<(), String> {
    for want in original.inputs.iter().filter(|spec| !spec.optional) {
        // Whatever the original takes: an open dimension cannot be narrowed to one length.
        alike("input", want, &candidate.inputs, |want, got| got < 0 || got == want)?;
    }
    let is_required = |spec: &&TensorSpec| !spec.optional;
    let is_new = |spec: &&TensorSpec| !original.inputs.iter().filter(is_required).any(|want| want.name == spec.name);
    if let Some(more) = candidate.inputs.iter().filter(is_required).find(is_new) {
        return Err(format!("it wants an input '{}' that the original does not", more.name));
    }
    for want in &original.outputs {
        // How far the runtime can tell a length beforehand differs from one form to another.
        alike("output", want, &candidate.outputs, |want, got| got < 0 || want < 0 || got == want)?;
    }
    Ok(())
}

fn alike(what: &str, want: &TensorSpec, found: &[TensorSpec], fits: fn(i64, i64) -> bool) -> Result<(), String> {
    let Some(got) = found.iter().find(|spec| spec.name == want.name) else {
        return Err(format!("it has no {what} '{}'", want.name));
    };
    if got.datatype != want.datatype || got.shape.len() != want.shape.len() {
        return Err(format!("its {what} '{}' has another type or rank", want.name));
    }
    if !want.shape.iter().zip(&got.shape).all(|(want, got)| fits(*want, *got)) {
        return Err(format!("its {what} '{}' is {:?} instead of {:?}", want.name, got.shape, want.shape));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
