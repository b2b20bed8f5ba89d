//! What quantising did, as a table for people and as JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::core::qualify::Speedup;

/// The report of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The original.
    pub model: String,
    /// Its SHA-256.
    pub source_sha256: String,
    /// The INT8 file.
    pub output: String,
    /// ONNX Runtime's version.
    pub runtime: String,
    /// What the processor can do for 8-bit numbers.
    pub cpu: String,
    /// `static` or `dynamic`.
    pub method: &'static str,
    /// What was chosen, and why.
    pub why: String,
    /// How ranges were found; none where they are found at every run.
    pub calibrator: Option<&'static str>,
    /// Where samples came from.
    pub samples: SamplesReport,
    /// Bytes of both models.
    pub size: Size,
    /// Nodes in 8 bits and in float.
    pub nodes: Nodes,
    /// How far the two agree.
    pub accuracy: Accuracy,
    /// What the search for accuracy did, where it was needed.
    pub search: Option<SearchReport>,
    /// Whether biases were corrected.
    pub bias_corrected: bool,
    /// One run of each, alternated, with one thread.
    pub latency: Option<Latency>,
    /// How long it took.
    pub seconds: Seconds,
    /// The most memory that the process held, in bytes.
    pub peak_memory_bytes: u64,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Where samples came from and what was made of them.
#[derive(Debug, Default, Serialize)]
pub struct SamplesReport {
    /// The folder or file; none where inputs were made up.
    pub path: Option<String>,
    /// Names of those that ranges were found with.
    pub calibrated: Vec<String>,
    /// Names of those that the two models were compared on.
    pub compared: Vec<String>,
    /// What the comparison was made on: `held out`, `calibration samples` or `made-up inputs`.
    pub compared_on: &'static str,
    /// Those that could not be read, and why.
    pub passed_over: Vec<String>,
}

/// Bytes.
#[derive(Debug, Serialize)]
pub struct Size {
    /// Of the original.
    pub before_bytes: u64,
    /// Of the INT8 model.
    pub after_bytes: u64,
    /// How many times smaller.
    pub ratio: f64,
}

/// Nodes of the graph that was quantised.
#[derive(Debug, Serialize)]
pub struct Nodes {
    /// Names of those in 8 bits.
    pub quantized: Vec<String>,
    /// Those in float.
    pub left: Vec<LeftNode>,
}

/// A node in float.
#[derive(Debug, Serialize)]
pub struct LeftNode {
    /// Its name.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// How far the INT8 model agrees with the float one.
#[derive(Debug, Serialize)]
pub struct Accuracy {
    /// `top-1`, `confident rows` or `normalised error`.
    pub measure: &'static str,
    /// From 0 to 1.
    pub agreement: f64,
    /// What was asked for.
    pub target: f64,
    /// Whether it was reached.
    pub reached: bool,
    /// In words.
    pub text: String,
    /// Samples compared.
    pub samples: usize,
    /// The normalised error of each output.
    pub outputs: Vec<OutputReport>,
}

/// One output.
#[derive(Debug, Serialize)]
pub struct OutputReport {
    /// Its name.
    pub name: String,
    /// Its normalised error; none where it is infinite.
    pub error: Option<f64>,
}

/// What the search did.
#[derive(Debug, Serialize)]
pub struct SearchReport {
    /// The agreement with every node in 8 bits.
    pub agreement_before: f64,
    /// The nodes that it left in float.
    pub kept: Vec<Kept>,
    /// Forms of the model that it tried.
    pub trials: usize,
    /// How many times as long a run takes as with every node in 8 bits.
    pub cost: Option<f64>,
}

/// A node that the search left in float.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// Its name.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// The distance from the float model that was measured with it, or with it and its neighbours, alone in 8 bits.
    pub harm: f64,
}

/// One run of each.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// Median of the original, in milliseconds.
    pub original_ms: f64,
    /// Of the INT8 model.
    pub quantized_ms: f64,
    /// How many times as fast, with its 95 % interval; `None` where the two were not raced.
    pub speedup: Option<Speedup>,
}

impl Latency {
    /// How many times as fast INT8 is, and the words for it.
    fn speedup(&self) -> (f64, String) {
        match self.speedup {
            Some(speedup) => (speedup.median, speedup.to_string()),
            None => {
                let ratio = self.original_ms / self.quantized_ms.max(1e-6);
                (ratio, format!("{ratio:.2} times as fast (not raced)"))
            }
        }
    }
}

/// Parts of the time.
#[derive(Debug, Default, Serialize)]
pub struct Seconds {
    /// All of it.
    pub total: f64,
    /// Running the model over samples for ranges.
    pub calibration: f64,
    /// Searching for accuracy.
    pub search: f64,
}

/// The table shows so many of a list.
const LONGEST_LIST: usize = 12;
/// A file that is less than so many times smaller is hardly smaller.
const HARDLY_SMALLER: f64 = 1.5;

impl Report {
    /// Adds what is worth a warning.
    pub fn warn(&mut self) {
        let mut warnings = Vec::new();
        if !self.accuracy.reached {
            let Accuracy { agreement, target, .. } = self.accuracy;
            warnings.push(format!(
                "the agreement of {agreement:.4} is below the {target:.4} that was asked for: give --search-seconds more, or \
                 more samples"
            ));
        }
        if let Some((_, words)) = self.latency.as_ref().map(Latency::speedup).filter(|(ratio, _)| *ratio < 1.0) {
            warnings.push(format!("INT8 is slower here: {words}"));
        }
        if self.size.ratio < HARDLY_SMALLER {
            warnings.push(format!("the file is hardly smaller: {:.2} times", self.size.ratio));
        }
        if self.samples.compared_on != "held out" {
            warnings
                .push(format!("the agreement was measured on {}, not on real ones held out", self.samples.compared_on));
        }
        self.warnings.extend(warnings);
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        row("method", format!("{}: {}", self.method, self.why));
        let SamplesReport { path, calibrated, compared, passed_over, compared_on } = &self.samples;
        let passed =
            if passed_over.is_empty() { String::new() } else { format!(", {} passed over", passed_over.len()) };
        row(
            "samples",
            match path {
                Some(path) => format!(
                    "{path}: {} for ranges, {} compared ({compared_on}){passed}",
                    calibrated.len(),
                    compared.len()
                ),
                None => format!("none; compared on {compared_on}"),
            },
        );
        row(
            "size",
            format!(
                "{:.2} MiB to {:.2} MiB, {:.2} times smaller",
                mebibytes(self.size.before_bytes),
                mebibytes(self.size.after_bytes),
                self.size.ratio
            ),
        );
        row("nodes", format!("{} in 8 bits, {} in float", self.nodes.quantized.len(), self.nodes.left.len()));
        for (reason, count) in self.reasons() {
            row("", format!("{count} x {reason}"));
        }
        let Accuracy { measure, agreement, target, text: words, .. } = &self.accuracy;
        row("agreement", format!("{agreement:.4} by {measure} (asked for: {target:.4}); {words}"));
        for output in &self.accuracy.outputs {
            let error = output.error.map_or("without bound".to_owned(), |error| format!("{error:.4}"));
            row("", format!("output '{}': error {error}", output.name));
        }
        if let Some(search) = &self.search {
            let cost =
                search.cost.map_or(String::new(), |cost| format!(", a run takes {cost:.2} times as long for it"));
            let before = search.agreement_before;
            row("search", format!("{before:.4} before; {} nodes left in float{cost}", search.kept.len()));
            for kept in search.kept.iter().take(LONGEST_LIST) {
                row("", format!("{} {}: harm {} in 8 bits", kept.operator, kept.node, harm(kept.harm)));
            }
        }
        let more = self.search.as_ref().map_or(0, |search| search.kept.len().saturating_sub(LONGEST_LIST));
        if more > 0 {
            row("", format!("and {more} more, which the JSON report lists"));
        }
        if self.bias_corrected {
            row("biases", "corrected, which brought the outputs nearer".to_owned());
        }
        if let Some(latency) = &self.latency {
            let (_, words) = latency.speedup();
            row("latency", format!("{:.3} ms to {:.3} ms; {words}", latency.original_ms, latency.quantized_ms));
        }
        let Seconds { total, calibration, search } = self.seconds;
        row("time", format!("{total:.1} s, of which calibration {calibration:.1} s and search {search:.1} s"));
        row("peak memory", format!("{:.0} MiB", mebibytes(self.peak_memory_bytes)));
        for warning in &self.warnings {
            row("warning", warning.clone());
        }
        text.trim_end().to_owned()
    }

    /// How many nodes are in float for each reason, with their operators, most first.
    fn reasons(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for left in &self.nodes.left {
            *counts.entry(format!("{}: {}", left.operator, left.reason)).or_default() += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(LONGEST_LIST);
        counts
    }
}

/// Answers that are no numbers any more are further away than any number says.
fn harm(harm: f64) -> String {
    if harm < f64::from(f32::MAX) { format!("{harm:.4}") } else { "without bound".to_owned() }
}
