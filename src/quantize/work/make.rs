//! From an order to a file and its report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::bias;
use super::calibrate::{Calibrated, calibrate};
use super::histogram::Calibrator;
use super::lab::{HeldOut, Lab, outputs, run};
use super::prepared::{self, Prepared};
use super::report::{
    Accuracy, Kept, Latency, LeftNode, Nodes, OutputReport, Report, SamplesReport, SearchReport, Seconds, Size,
};
use super::search::{self, Measured};
use super::split::Split;
use super::stored::Stored;
use super::trials::{Bench, Trials};
use super::{Failure, Order, PROPERTY_METHOD, PROPERTY_SAMPLES, PROPERTY_SOURCE, Watch};
use crate::core::agreement::Comparison;
use crate::core::qualify::speedup;
use crate::core::tensor::{ModelSpec, Tensor};
use crate::engine::Session;
use crate::engine::cancel::Cancel;
use crate::engine::cpu::Cpu;
use crate::engine::ort::OrtSession;
use crate::image::ImageModel;
use crate::onnx::file;
use crate::onnx::proto::ModelProto;
use crate::qualify::race::race;
use crate::quantize::{Choice, Integer, Method, Range, Rewritten, Settings};
use crate::samples::{self, SampleLimits, Samples};

/// The folder of samples that is used where none is named.
const FRAMES: &str = "frames";
/// A correction of biases is kept when the distance falls to this share of what it was, or lower.
const PAYS: f64 = 0.98;
/// How long the two models race for the report, and in how many pairs.
const RACE: Duration = Duration::from_millis(800);
const RACE_PAIRS: usize = 60;
/// The pairs where nothing was asked of the accuracy either: enough for an interval.
const FEW_PAIRS: usize = 8;

/// An INT8 model, with what is known of how it came about.
struct Form {
    rewritten: Rewritten,
    comparison: Comparison,
    search: Option<SearchReport>,
    bias_corrected: bool,
    /// The float model that it was made of, and the nodes that the search left in float.
    float: ModelProto,
    keep: BTreeSet<String>,
    /// Every node in 8 bits, where the search left some in float.
    without_search: Option<ModelProto>,
}

/// Quantises: the output is there whole, after the runtime has run it, or not at all.
///
/// # Errors
/// [`Failure`]: nothing was written.
pub fn make(order: &Order, source_sha256: &str, lab: &Lab, cpu: &Cpu, watch: &dyn Watch) -> Result<Report, Failure> {
    let begun = Instant::now();
    watch.begin("reading the model", 1);
    let Prepared { stored, choice, bytes } = prepared::prepare(&order.model, &lab.runtime, cpu, watch)?;
    let Choice { settings, why } = settle(order, choice, cpu, watch);
    let mut float = original(order, lab, lab.threads)?;
    let (samples, path) = open_samples(order, float.spec())?;
    if samples.is_none() && settings.method == Method::Static {
        return Err(Failure::Asked(
            "static quantisation finds ranges with samples: give --calibration a folder of pictures or a .npz, or put a \
             folder named frames beside the model"
                .to_owned(),
        ));
    }
    let mut split = Split::new(samples, path, order.limit, order.search.is_some());
    let held = split.hold_out(&mut float, watch)?;
    drop(float);

    let calibrated_at = Instant::now();
    let Calibrated { ranges, means } = find_ranges(order, lab, &stored, &settings, &mut split, watch)?;
    let calibration = calibrated_at.elapsed().as_secs_f64();
    let bench = Bench { lab, ranges: &ranges, settings: &settings, held: &held };
    let searched_at = Instant::now();
    let form = best_form(order, &bench, stored.open().map_err(Failure::Made)?, &means, &split.report, watch)?;
    let search = searched_at.elapsed().as_secs_f64();

    let Form { mut rewritten, comparison, search: found, bias_corrected, without_search, .. } = match order.calibrator {
        Calibrator::Minmax if order.search.is_some() => widened(form, &bench, watch),
        // Other ranges are cut out of all samples together, and cannot be joined.
        _ => form,
    };
    let method = match settings.method {
        Method::Static => "static",
        Method::Dynamic => "dynamic",
    };
    rewritten.model.set_property(PROPERTY_METHOD, method);
    rewritten.model.set_property(PROPERTY_SOURCE, source_sha256);
    rewritten.model.set_property(PROPERTY_SAMPLES, &split.digests().join(","));
    let encoded = Stored::keep_bytes(&file::encode(&rewritten.model)).map_err(Failure::Made)?;
    let nodes = nodes(&rewritten);
    drop(rewritten);
    let (latency, cost) = try_out(order, lab, &encoded, without_search, &held, watch)?;
    let encoded = encoded.bytes().map_err(Failure::Made)?;
    watch.place(&mut || file::write_bytes(&order.output, &encoded).map_err(Failure::from))?;

    let mut report = Report {
        model: order.model.display().to_string(),
        source_sha256: source_sha256.to_owned(),
        output: order.output.display().to_string(),
        runtime: lab.runtime.version().to_owned(),
        cpu: cpu.line(),
        method,
        why,
        calibrator: (settings.method == Method::Static).then_some(match order.calibrator {
            Calibrator::Minmax => "minmax",
            Calibrator::Percentile => "percentile",
            Calibrator::Entropy => "entropy",
        }),
        samples: std::mem::take(&mut split.report),
        size: Size {
            before_bytes: bytes,
            after_bytes: encoded.len() as u64,
            ratio: bytes as f64 / encoded.len().max(1) as f64,
        },
        nodes,
        accuracy: accuracy(&comparison, order.target),
        search: found.map(|found| SearchReport { cost, ..found }),
        bias_corrected,
        latency,
        seconds: Seconds { total: begun.elapsed().as_secs_f64(), calibration, search },
        peak_memory_bytes: peak_memory_bytes(),
        warnings: Vec::new(),
    };
    report.warn();
    Ok(report)
}

/// What was asked for, in place of what the graph suggests.
fn settle(order: &Order, choice: Choice, cpu: &Cpu, watch: &dyn Watch) -> Choice {
    let Choice { mut settings, mut why } = choice;
    let mut asked = Vec::new();
    if let Some(method) = order.method.filter(|method| *method != settings.method) {
        settings.method = method;
        asked.push("the method");
    }
    if let Some(activations) = order.activations.filter(|activations| *activations != settings.activations) {
        settings.activations = activations;
        asked.push("the type of activations");
    }
    if let Some(weights) = order.weights.filter(|weights| *weights != settings.weights) {
        settings.weights = weights;
        asked.push("the type of weights");
    }
    if order.per_tensor {
        settings.per_channel = false;
        asked.push("one scale a weight");
    }
    if order.reduce_range && !settings.reduce_range {
        settings.reduce_range = true;
        asked.push("weights of 7 bits");
    }
    settings.exclude.clone_from(&order.exclude);
    settings.refine = !order.plain;
    if !asked.is_empty() {
        why = format!("as asked: {}; else {why}", asked.join(", "));
    }
    if settings.activations == Integer::S8 && cpu.architecture == "x86_64" && settings.method == Method::Static {
        watch.tell("signed activations are slow on x86: --activations u8 is 2 to 3 times as fast");
    }
    Choice { settings, why }
}

/// A session of the model as it was given.
fn original(order: &Order, lab: &Lab, threads: usize) -> Result<OrtSession, Failure> {
    let unusable = |reason| Failure::Unusable(format!("model file {}: {reason}", order.model.display()));
    lab.session_at(&order.model, threads).map_err(unusable)
}

fn open_samples(order: &Order, spec: &ModelSpec) -> Result<(Option<Samples>, Option<String>), Failure> {
    let beside = order.model.parent().unwrap_or(Path::new("")).join(FRAMES);
    let Some(path) = order.samples.clone().or_else(|| beside.is_dir().then_some(beside)) else {
        return Ok((None, None));
    };
    let image =
        match ImageModel::beside(&order.model).map_err(|error| Failure::Unusable(error.to_string()))? {
            // A .npz needs no word on pictures.
            Some(_) if path.is_file() => None,
            Some(image) => Some(image.check(spec).map_err(|problems| {
                Failure::Unusable(format!("{}: {}", image.path().display(), problems.join("; ")))
            })?),
            None => None,
        };
    let limits = SampleLimits { max_pixels: order.max_pixels, ..SampleLimits::default() };
    let samples = samples::open(&path, spec, image.as_ref(), limits)?;
    Ok((Some(samples), Some(path.display().to_string())))
}

fn find_ranges(
    order: &Order,
    lab: &Lab,
    stored: &Stored,
    settings: &Settings,
    split: &mut Split,
    watch: &dyn Watch,
) -> Result<Calibrated, Failure> {
    if settings.method == Method::Dynamic {
        return Ok(Calibrated::default());
    }
    let searching = order.search.is_some();
    let model = stored.open().map_err(Failure::Made)?;
    let tensors = prepared::observed(&model, settings, searching);
    let means = if searching { bias::wanted(&model) } else { Vec::new() };
    drop(model);
    let count = split.count();
    let mut reader = |each: &mut dyn FnMut(&[Tensor]) -> Result<(), String>| split.calibrating(each, watch);
    calibrate(lab, stored, &tensors, &means, order.calibrator, (&mut reader, count), watch)
        .map_err(|reason| Failure::Unusable(format!("calibrating: {reason}")))
}

/// The form with every node in 8 bits; with corrected biases, if that is nearer; with nodes in float, if it must be.
fn best_form(
    order: &Order,
    bench: &Bench<'_>,
    mut model: ModelProto,
    means: &BTreeMap<String, Vec<f64>>,
    samples: &SamplesReport,
    watch: &dyn Watch,
) -> Result<Form, Failure> {
    let made = |reason: String| Failure::Made(format!("the INT8 model was not made: {reason}"));
    watch.begin("quantising", 1);
    let mut rewritten = crate::quantize::rewrite(&model, bench.ranges, bench.settings)?;
    let mut bias_corrected = false;
    let Some(limit) = order.search else {
        // The constants that stayed are slices of the float model's memory: without them that is free.
        model = ModelProto::default();
        let keep = BTreeSet::new();
        rewritten.model = Stored::keep(rewritten.model).and_then(|stored| stored.open()).map_err(made)?;
        let comparison = bench.compare(&rewritten.model, usize::MAX).map_err(made)?;
        return Ok(Form {
            rewritten,
            comparison,
            search: None,
            bias_corrected,
            float: model,
            keep,
            without_search: None,
        });
    };

    let begun = Instant::now();
    let mut comparison = bench.compare(&rewritten.model, usize::MAX).map_err(made)?;
    if let Some(corrected) = bias::corrected(&model, &rewritten.model, means) {
        let form = bench.form(&corrected, BTreeSet::new()).map_err(made)?;
        let nearer = bench.compare(&form.model, usize::MAX).map_err(made)?;
        if nearer.distance() <= PAYS * comparison.distance() && nearer.value() >= comparison.value() {
            (model, rewritten, comparison, bias_corrected) = (corrected, form, nearer, true);
        }
    }
    let target = order.target.unwrap_or(comparison.default_target());
    let base = Measured { agreement: comparison.value(), distance: comparison.distance() };
    if base.agreement >= target || samples.path.is_none() {
        let keep = BTreeSet::new();
        return Ok(Form {
            rewritten,
            comparison,
            search: None,
            bias_corrected,
            float: model,
            keep,
            without_search: None,
        });
    }
    watch.tell(&format!(
        "the agreement is {:.4} with every node in 8 bits ({}): looking for the nodes that spoil it, for at most {} s",
        base.agreement,
        comparison.text(),
        limit.as_secs()
    ));
    watch.begin("searching", 0);
    let nodes = rewritten.quantized.clone();
    let mut trials = Trials { bench, model: &model, nodes: &nodes, begun, limit, watch };
    let found = search::search(&nodes, target, base, &mut trials).map_err(made)?;
    let operators: BTreeMap<&str, &str> =
        model.graph.iter().flat_map(|graph| &graph.node).map(|node| (node.label(), node.operator())).collect();
    let kept = found.harm.iter().map(|(node, harm)| Kept {
        node: node.clone(),
        operator: operators.get(node.as_str()).copied().unwrap_or_default().to_owned(),
        harm: *harm,
    });
    let report =
        SearchReport { agreement_before: base.agreement, kept: kept.collect(), trials: found.trials, cost: None };
    let (keep, search) = (found.keep, Some(report));
    if keep.is_empty() {
        return Ok(Form { rewritten, comparison, search, bias_corrected, float: model, keep, without_search: None });
    }
    let form = bench.form(&model, keep.clone()).map_err(made)?;
    let comparison = bench.compare(&form.model, usize::MAX).map_err(made)?;
    let without_search = Some(rewritten.model);
    Ok(Form { rewritten: form, comparison, search, bias_corrected, float: model, keep, without_search })
}

/// The same form with ranges that hold the samples held out too: what was decided without them is not decided again, and
/// what was measured without them stays what is reported. Left as it was where it would agree less.
fn widened(form: Form, bench: &Bench<'_>, watch: &dyn Watch) -> Form {
    if bench.ranges.is_empty() || form.float.graph.is_none() {
        return form;
    }
    let wider = || -> Result<Rewritten, String> {
        let tensors: Vec<String> = bench.ranges.keys().cloned().collect();
        let mut reader = |each: &mut dyn FnMut(&[Tensor]) -> Result<(), String>| {
            bench.held.pairs.iter().try_for_each(|(inputs, _)| each(inputs))
        };
        let count = bench.held.pairs.len();
        let found = calibrate(
            bench.lab,
            &Stored::keep(form.float.clone())?,
            &tensors,
            &[],
            Calibrator::Minmax,
            (&mut reader, count),
            watch,
        )?;
        let mut ranges = bench.ranges.clone();
        for (name, range) in found.ranges {
            if let Some(known) = ranges.get_mut(&name) {
                *known = Range { low: known.low.min(range.low), high: known.high.max(range.high) };
            }
        }
        if ranges == *bench.ranges {
            return Err("nothing is wider".to_owned());
        }
        let wide = Bench { lab: bench.lab, ranges: &ranges, settings: bench.settings, held: bench.held };
        let made = wide.form(&form.float, form.keep.clone())?;
        match wide.compare(&made.model, usize::MAX)? {
            comparison if comparison.value() >= form.comparison.value() => Ok(made),
            _ => Err("it agrees less".to_owned()),
        }
    };
    match wider() {
        Ok(rewritten) => Form { rewritten, ..form },
        Err(_) => form,
    }
}

/// Loads and runs the very bytes that are to be written, and measures: the race against the original with one thread, and
/// what the nodes in float cost.
fn try_out(
    order: &Order,
    lab: &Lab,
    encoded: &Stored,
    without_search: Option<ModelProto>,
    held: &HeldOut,
    watch: &dyn Watch,
) -> Result<(Option<Latency>, Option<f64>), Failure> {
    watch.begin("trying the INT8 model", 1);
    let refuse = |reason: String| Failure::Made(format!("the INT8 model does not run, and was not written: {reason}"));
    // The larger one first: what loading it takes is free again when the other comes.
    let mut original = original(order, lab, 1)?;
    let mut candidate = lab.session_at(&encoded.path(), 1).map_err(refuse)?;
    let names = outputs(&candidate);
    let Some((inputs, _)) = held.pairs.first() else { return Ok((None, None)) };
    run(&mut candidate, inputs, &names).map_err(refuse)?;
    let inputs: Vec<Vec<Tensor>> = held.pairs.iter().map(|(inputs, _)| inputs.clone()).collect();
    let mut cost = None;
    if let Some(without) = without_search {
        let mut all = lab.session(without, 1).map_err(refuse)?;
        let pairs = race(&mut candidate, &mut all, &inputs, RACE_PAIRS, Instant::now() + RACE, &Cancel::default());
        cost = speedup(&pairs).map(|speedup| speedup.median);
    }
    let most = if order.search.is_some() { RACE_PAIRS } else { FEW_PAIRS };
    let pairs = race(&mut original, &mut candidate, &inputs, most, Instant::now() + RACE, &Cancel::default());
    let median = |of: fn(&crate::core::qualify::Pair) -> Duration| {
        let mut all: Vec<Duration> = pairs.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).map_or(0.0, |median| median.as_secs_f64() * 1e3)
    };
    let latency = Latency {
        original_ms: median(|pair| pair.original),
        quantized_ms: median(|pair| pair.candidate),
        speedup: speedup(&pairs),
    };
    Ok(((!pairs.is_empty()).then_some(latency), cost))
}

fn nodes(rewritten: &Rewritten) -> Nodes {
    let left = rewritten.left.iter().map(|left| LeftNode {
        node: left.node.clone(),
        operator: left.operator.clone(),
        reason: left.reason.clone(),
    });
    Nodes { quantized: rewritten.quantized.clone(), left: left.collect() }
}

fn accuracy(comparison: &Comparison, target: Option<f64>) -> Accuracy {
    let (agreement, target) = (comparison.value(), target.unwrap_or(comparison.default_target()));
    let outputs = comparison
        .errors()
        .into_iter()
        .map(|output| OutputReport { name: output.name, error: output.error.is_finite().then_some(output.error) });
    Accuracy {
        measure: comparison.measure(),
        agreement,
        target,
        reached: agreement >= target,
        text: comparison.text(),
        samples: comparison.samples(),
        outputs: outputs.collect(),
    }
}

/// The most memory that this program has held, as the system counts it; 0 where it does not tell.
fn peak_memory_bytes() -> u64 {
    // Not by getrusage: what that tells begins with the memory of the process that started this one.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kibibytes| kibibytes.trim().parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}
