//! Forms of a model, made and compared with the float one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Watch;
use super::lab::{HeldOut, Lab, outputs, run};
use super::search::{Measured, Trial};
use crate::core::agreement::Comparison;
use crate::onnx::proto::ModelProto;
use crate::quantize::{Ranges, Rewritten, Settings, rewrite};

/// How many samples tell what harm a part of the graph does.
const FEW: usize = 8;

/// What makes a form and holds it against the float model.
pub(super) struct Bench<'a> {
    pub lab: &'a Lab,
    pub ranges: &'a Ranges,
    pub settings: &'a Settings,
    pub held: &'a HeldOut,
}

impl Bench<'_> {
    /// The INT8 form with these nodes in float.
    pub fn form(&self, model: &ModelProto, keep: BTreeSet<String>) -> Result<Rewritten, String> {
        self.form_by(model, &Settings { keep_float: keep, ..self.settings.clone() })
    }

    /// The INT8 form by other settings.
    pub fn form_by(&self, model: &ModelProto, settings: &Settings) -> Result<Rewritten, String> {
        rewrite(model, self.ranges, settings).map_err(|error| error.to_string())
    }

    /// Holds a form against the float model's answers on at most `most` samples.
    pub fn compare(&self, form: &ModelProto, most: usize) -> Result<Comparison, String> {
        let mut session = self.lab.session(form.clone(), self.lab.threads)?;
        let names = outputs(&session);
        let mut comparison = Comparison::default();
        for (inputs, answer) in self.held.pairs.iter().take(most) {
            comparison.add(answer, &run(&mut session, inputs, &names)?);
        }
        Ok(comparison)
    }
}

/// The trials of a search, within its time.
pub(super) struct Trials<'a> {
    pub bench: &'a Bench<'a>,
    pub model: &'a ModelProto,
    /// All nodes that can be in 8 bits.
    pub nodes: &'a [String],
    pub begun: Instant,
    pub limit: Duration,
    pub watch: &'a dyn Watch,
}

impl Trials<'_> {
    fn measure(&self, keep: BTreeSet<String>, most: usize) -> Result<Measured, String> {
        let form = self.bench.form(self.model, keep)?;
        let comparison = self.bench.compare(&form.model, most)?;
        self.watch.step();
        Ok(Measured { agreement: comparison.value(), distance: comparison.distance() })
    }
}

impl Trial for Trials<'_> {
    fn with_float(&mut self, keep: &BTreeSet<String>) -> Result<Measured, String> {
        self.measure(keep.clone(), usize::MAX)
    }

    fn alone(&mut self, nodes: &BTreeSet<String>) -> Result<Measured, String> {
        self.measure(self.nodes.iter().filter(|node| !nodes.contains(*node)).cloned().collect(), FEW)
    }

    fn spent(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / self.limit.as_secs_f64().max(1e-3)
    }
}
