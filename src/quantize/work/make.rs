//! From an order to a file and its report.

use std::path::Path;
use std::time::Instant;

use super::bias;
use super::calibrate::{Calibrated, calibrate};
use super::form::{self, Form};
use super::histogram::Calibrator;
use super::lab::Lab;
use super::prepared::{self, Prepared};
use super::report::{Accuracy, LeftNode, Nodes, OutputReport, Report, SearchReport, Seconds, Size};
use super::split::Split;
use super::stored::Stored;
use super::trials::Bench;
use super::try_out::try_out;
use super::{Failure, Order, PROPERTY_METHOD, PROPERTY_SAMPLES, PROPERTY_SOURCE, Watch};
use crate::core::agreement::Comparison;
use crate::core::tensor::{ModelSpec, Tensor};
use crate::engine::Session;
use crate::engine::cpu::Cpu;
use crate::image::ImageModel;
use crate::onnx::file;
use crate::quantize::{Choice, Integer, Method, Rewritten, Settings};
use crate::samples::{self, SampleLimits, Samples};

/// The folder of samples that is used where none is named.
const FRAMES: &str = "frames";
/// Quantises: the output is there whole, after the runtime has run it, or not at all.
///
/// # Errors
/// [`Failure`]: nothing was written.
pub fn make(order: &Order, source_sha256: &str, lab: &Lab, cpu: &Cpu, watch: &dyn Watch) -> Result<Report, Failure> {
    let begun = Instant::now();
    watch.begin("reading the model", 1);
    let Prepared { stored, choice, bytes } = prepared::prepare(&order.model, &lab.runtime, cpu, watch)?;
    let Choice { settings, why } = settle(order, choice, cpu, watch);
    settings.check()?;
    let mut float = lab.original(&order.model, lab.threads)?;
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
    let model = stored.open().map_err(Failure::Made)?;
    let form = form::best(order, &bench, model, &means, split.report.path.is_some(), watch)?;
    let search = searched_at.elapsed().as_secs_f64();
    let why = why + form.why(&settings);

    let Form { mut rewritten, comparison, search: found, bias_corrected, without_search, .. } = match order.calibrator {
        Calibrator::Minmax if order.search.is_some() => form.widened(&bench, watch),
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
    // Nothing of it can be quantised: the rewriting says why.
    if tensors.is_empty() {
        return Ok(Calibrated::default());
    }
    let means = if searching { bias::wanted(&model) } else { Vec::new() };
    drop(model);
    let count = split.count();
    let mut reader = |each: &mut dyn FnMut(&[Tensor]) -> Result<(), String>| split.calibrating(each, watch);
    calibrate(lab, stored, &tensors, &means, order.calibrator, (&mut reader, count), watch)
        .map_err(|reason| Failure::Unusable(format!("calibrating: {reason}")))
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
