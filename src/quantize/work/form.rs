//! The INT8 form that is written: every node in 8 bits; with corrected biases, if that is nearer; with nodes in float, if it
//! must be; otherwise laid out, if this box runs that faster.

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
use crate::core::qualify::speedup;
use crate::core::tensor::Tensor;
use crate::engine::cancel::Cancel;
use crate::onnx::graph::Index;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};
use crate::qualify::race::race;
use crate::quantize::{Method, Range, Rewritten, Settings, rewrite};

/// A correction of biases is kept when the distance falls to this share of what it was, or lower.
const PAYS: f64 = 0.98;
/// The most channels of an entry that is tried in float.
const FEW: i64 = 4;
/// Another form is taken where the lower end of the interval of the speed-up is this or more, and the agreement loses nothing,
/// or reaches the target and loses no more than a little.
const FASTER: f64 = 1.03;
const LITTLE: f64 = 0.005;
/// How long that is raced, and in how many pairs.
const RACE: Duration = Duration::from_millis(600);
const PAIRS: usize = 60;
/// On how many samples.
const A_FEW: usize = 8;

/// An INT8 model, with what is known of how it came about.
pub(super) struct Form {
    pub rewritten: Rewritten,
    pub comparison: Comparison,
    pub search: Option<SearchReport>,
    pub bias_corrected: bool,
    /// Every node in 8 bits, where the search left some in float.
    pub without_search: Option<ModelProto>,
    /// The float model that it was made of, and how.
    float: ModelProto,
    settings: Settings,
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
    let form = match form.comparison.value() >= target || !has_samples {
        true => form,
        false => form.searched(target, (begun, limit), bench, watch).map_err(made)?,
    };
    Ok(if limit.is_zero() || !has_samples { form } else { form.faster(target, bench, watch) })
}

/// Convolutions that read what callers give, of few channels: the runtime has to lay pictures out otherwise for the 8-bit
/// operator, which for a net of a few milliseconds takes longer than it saves.
fn entry(rewritten: &Rewritten, float: &ModelProto) -> BTreeSet<String> {
    let Some(graph) = &float.graph else { return BTreeSet::new() };
    let index = Index::new(graph);
    let reads_callers = |node: &&NodeProto| {
        let few = |name| index.constant(name).is_some_and(|weights| weights.dims.get(1).is_some_and(|of| *of <= FEW));
        node.operator() == "Conv"
            && node.source(0).is_some_and(|input| index.inputs.contains(input))
            && node.source(1).is_some_and(few)
    };
    let found = graph.node.iter().filter(reads_callers).map(|node| node.label().to_owned());
    found.filter(|name| rewritten.quantized.contains(name)).collect()
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
            settings: bench.settings.clone(),
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
        let settings = Settings { keep_float: keep, ..self.settings };
        let rewritten = bench.form_by(&self.float, &settings)?;
        let comparison = bench.compare(&rewritten.model, usize::MAX)?;
        let without_search = Some(self.rewritten.model);
        Ok(Form { rewritten, comparison, search, settings, without_search, ..self })
    }

    /// How else it could be made, which some boxes run faster: with its entry in float; dynamic with one scale a weight, which
    /// counts where products are small. With each comes what it may lose of the agreement: of the first, which can only be
    /// nearer, what chance makes of it.
    fn others(&self) -> Vec<(Settings, f64)> {
        let entry = entry(&self.rewritten, &self.float);
        let settings = |change: &dyn Fn(&mut Settings)| {
            let mut settings = self.settings.clone();
            change(&mut settings);
            settings
        };
        let mut others = Vec::new();
        if !entry.is_empty() {
            others.push((settings(&|settings| settings.faster_in_float.clone_from(&entry)), LITTLE));
        }
        if self.settings.method == Method::Dynamic && self.settings.per_channel {
            others.push((settings(&|settings| settings.per_channel = false), 0.0));
        }
        others
    }

    /// As one of those, where this box runs that faster and it hardly agrees less.
    fn faster(self, target: f64, bench: &Bench<'_>, watch: &dyn Watch) -> Form {
        self.others().into_iter().fold(self, |form, settings| form.or_by(settings, target, bench, watch))
    }

    fn or_by(self, (settings, loses): (Settings, f64), target: f64, bench: &Bench<'_>, watch: &dyn Watch) -> Form {
        watch.begin("racing other forms", 1);
        let other = || -> Result<Option<(Rewritten, Comparison)>, String> {
            let rewritten = bench.form_by(&self.float, &settings)?;
            let comparison = bench.compare(&rewritten.model, usize::MAX)?;
            let (value, known) = (comparison.value(), self.comparison.value());
            if value < known && (value < target || value + loses < known) {
                return Ok(None);
            }
            let mut this = bench.lab.session(self.rewritten.model.clone(), 1)?;
            let mut other = bench.lab.session(rewritten.model.clone(), 1)?;
            let inputs: Vec<Vec<Tensor>> =
                bench.held.pairs.iter().take(A_FEW).map(|(inputs, _)| inputs.clone()).collect();
            let pairs = race(&mut this, &mut other, &inputs, PAIRS, Instant::now() + RACE, &Cancel::default());
            let faster = speedup(&pairs).is_some_and(|speedup| speedup.low >= FASTER);
            Ok(faster.then_some((rewritten, comparison)))
        };
        // One that cannot be made or run, such as of a net that is nothing but its entry, leaves what there is.
        match other() {
            Ok(Some((rewritten, comparison))) => Form { rewritten, comparison, settings, ..self },
            Ok(None) | Err(_) => self,
        }
    }

    /// Why it has one scale a weight where a scale a channel was chosen.
    pub fn why(&self, chosen: &Settings) -> &'static str {
        if chosen.per_channel && !self.settings.per_channel { "; one scale a weight, faster on this box" } else { "" }
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
        let made = wide.form_by(&self.float, &self.settings)?;
        let agrees = wide.compare(&made.model, usize::MAX)?.value() >= self.comparison.value();
        Ok(agrees.then_some(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::tests::net::{Net, ranges};

    #[test]
    fn the_entry_is_what_reads_pictures_of_few_channels() {
        for (channels, expected) in [(3, vec!["n_c"]), (4, vec!["n_c"]), (8, vec![])] {
            let mut net = Net::new("x");
            net.weight("w", &[4, channels, 1, 1]).node("Conv", &["x", "w"], "c");
            net.weight("v", &[2, 4, 1, 1]).node("Conv", &["c", "v"], "y");
            let float = net.model(&["y"]);
            let rewritten = rewrite(&float, &ranges(&float), &Settings::default()).unwrap();
            let entry = entry(&rewritten, &float);
            assert_eq!(entry.iter().collect::<Vec<_>>(), expected, "{channels} channels");
            if entry.is_empty() {
                continue;
            }
            let settings = Settings { faster_in_float: entry, ..Settings::default() };
            let without = rewrite(&float, &ranges(&float), &settings).unwrap();
            assert_eq!(
                (without.quantized, without.left[0].reason.as_str()),
                (vec!["n_y".to_owned()], "faster in float on this box")
            );
        }
    }
}
