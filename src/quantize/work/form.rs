//! The INT8 form that is written: every node in 8 bits; with corrected biases, if that is nearer; with nodes in float, if it
//! must be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::calibrate::calibrate;
use super::histogram::Calibrator;
use super::report::{Kept, SearchReport};
use super::search::{self, Measured};
use super::stored::Stored;
use super::trials::{Bench, Trials};
use super::{Failure, Order, Watch, bias};
use crate::core::agreement::Comparison;
use crate::core::tensor::Tensor;
use crate::onnx::proto::{GraphProto, ModelProto};
use crate::quantize::{Range, Rewritten, rewrite};

/// A correction of biases is kept when the distance falls to this share of what it was, or lower.
const PAYS: f64 = 0.98;

/// An INT8 model, with what is known of how it came about.
pub(super) struct Form {
    pub rewritten: Rewritten,
    pub comparison: Comparison,
    pub search: Option<SearchReport>,
    pub bias_corrected: bool,
    /// Every node in 8 bits, where the search left some in float.
    pub without_search: Option<ModelProto>,
    /// The float model that it was made of, and the nodes that the search left in float.
    float: ModelProto,
    keep: BTreeSet<String>,
}

/// Makes it. Without samples nothing is searched: made-up inputs tell nothing of the accuracy.
pub(super) fn best(
    order: &Order,
    bench: &Bench<'_>,
    model: ModelProto,
    means: &BTreeMap<String, Vec<f64>>,
    has_samples: bool,
    watch: &dyn Watch,
) -> Result<Form, Failure> {
    watch.begin("quantising", 1);
    let rewritten = rewrite(&model, bench.ranges, bench.settings)?;
    let made = |reason: String| Failure::Made(format!("the INT8 model was not made: {reason}"));
    let Some(limit) = order.search else {
        // The constants that stayed are slices of the float model's memory: without them that is free.
        drop(model);
        return Form::apart(rewritten, bench).map_err(made);
    };
    let begun = Instant::now();
    let form = Form::of(rewritten, model, bench).and_then(|form| form.with_biases(means, bench)).map_err(made)?;
    let target = order.target.unwrap_or(form.comparison.default_target());
    if form.comparison.value() >= target || !has_samples {
        return Ok(form);
    }
    form.searched(target, (begun, limit), bench, watch).map_err(made)
}

impl Form {
    /// A form, compared with the float model.
    fn of(rewritten: Rewritten, float: ModelProto, bench: &Bench<'_>) -> Result<Form, String> {
        let comparison = bench.compare(&rewritten.model, usize::MAX)?;
        Ok(Form {
            rewritten,
            comparison,
            search: None,
            bias_corrected: false,
            without_search: None,
            float,
            keep: BTreeSet::new(),
        })
    }

    /// A form that shares no memory with the float model any more, which is not kept.
    fn apart(mut rewritten: Rewritten, bench: &Bench<'_>) -> Result<Form, String> {
        rewritten.model = Stored::keep(rewritten.model).and_then(|stored| stored.open())?;
        Form::of(rewritten, ModelProto::default(), bench)
    }

    /// With corrected biases, where that pays.
    fn with_biases(self, means: &BTreeMap<String, Vec<f64>>, bench: &Bench<'_>) -> Result<Form, String> {
        let Some(corrected) = bias::corrected(&self.float, &self.rewritten.model, means) else { return Ok(self) };
        let form = Form::of(bench.form(&corrected, BTreeSet::new())?, corrected, bench)?;
        let nearer = form.comparison.distance() <= PAYS * self.comparison.distance();
        match nearer && form.comparison.value() >= self.comparison.value() {
            true => Ok(Form { bias_corrected: true, ..form }),
            false => Ok(self),
        }
    }

    /// With the fewest nodes in float that reach the target, as far as the time goes.
    fn searched(
        self,
        target: f64,
        (begun, limit): (Instant, Duration),
        bench: &Bench<'_>,
        watch: &dyn Watch,
    ) -> Result<Form, String> {
        let base = Measured { agreement: self.comparison.value(), distance: self.comparison.distance() };
        watch.tell(&format!(
            "the agreement is {:.4} with every node in 8 bits ({}): looking for the nodes that spoil it, for at most {} s",
            base.agreement,
            self.comparison.text(),
            limit.as_secs()
        ));
        watch.begin("searching", 0);
        let nodes = &self.rewritten.quantized;
        let mut trials = Trials { bench, model: &self.float, nodes, begun, limit, watch };
        let found = search::search(nodes, target, base, &mut trials)?;
        let all = self.float.graph.iter().flat_map(GraphProto::nodes_within);
        let operators: BTreeMap<&str, &str> = all.map(|node| (node.label(), node.operator())).collect();
        let kept = found.harm.iter().map(|(node, harm)| Kept {
            node: node.clone(),
            operator: operators.get(node.as_str()).copied().unwrap_or_default().to_owned(),
            harm: *harm,
        });
        let report =
            SearchReport { agreement_before: base.agreement, kept: kept.collect(), trials: found.trials, cost: None };
        let (keep, search) = (found.keep, Some(report));
        if keep.is_empty() {
            return Ok(Form { search, ..self });
        }
        let rewritten = bench.form(&self.float, keep.clone())?;
        let comparison = bench.compare(&rewritten.model, usize::MAX)?;
        let without_search = Some(self.rewritten.model);
        Ok(Form { rewritten, comparison, search, keep, without_search, ..self })
    }

    /// The same form with ranges that hold the samples held out too: what was decided without them is not decided again, and
    /// what was measured without them stays what is reported. Left as it was where it would agree less.
    pub fn widened(self, bench: &Bench<'_>, watch: &dyn Watch) -> Form {
        if bench.ranges.is_empty() || self.float.graph.is_none() {
            return self;
        }
        match self.wider(bench, watch) {
            Ok(Some(rewritten)) => Form { rewritten, ..self },
            Ok(None) | Err(_) => self,
        }
    }

    fn wider(&self, bench: &Bench<'_>, watch: &dyn Watch) -> Result<Option<Rewritten>, String> {
        let tensors: Vec<String> = bench.ranges.keys().cloned().collect();
        let mut reader = |each: &mut dyn FnMut(&[Tensor]) -> Result<(), String>| {
            bench.held.pairs.iter().try_for_each(|(inputs, _)| each(inputs))
        };
        let (stored, count) = (Stored::keep(self.float.clone())?, bench.held.pairs.len());
        let found =
            calibrate(bench.lab, &stored, &tensors, &[], Calibrator::Minmax, (&mut reader, count), watch)?.ranges;
        let mut ranges = bench.ranges.clone();
        for (name, range) in found {
            if let Some(known) = ranges.get_mut(&name) {
                *known = Range { low: known.low.min(range.low), high: known.high.max(range.high) };
            }
        }
        if ranges == *bench.ranges {
            return Ok(None);
        }
        let wide = Bench { lab: bench.lab, ranges: &ranges, settings: bench.settings, held: bench.held };
        let made = wide.form(&self.float, self.keep.clone())?;
        let agrees = wide.compare(&made.model, usize::MAX)?.value() >= self.comparison.value();
        Ok(agrees.then_some(made))
    }
}
