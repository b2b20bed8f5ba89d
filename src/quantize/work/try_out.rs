//! The bytes that are to be written, tried: they load, they run, and how fast beside the original.

use std::time::{Duration, Instant};

use super::lab::{HeldOut, Lab, outputs, run};
use super::report::Latency;
use super::stored::Stored;
use super::{Failure, Order, Watch};
use crate::core::qualify::{Pair, speedup};
use crate::core::tensor::Tensor;
use crate::engine::cancel::Cancel;
use crate::onnx::proto::ModelProto;
use crate::qualify::race::race;

/// How long two models race for the report, and in how many pairs.
const RACE: Duration = Duration::from_millis(800);
const PAIRS: usize = 60;
/// The same where nothing was asked of the accuracy either: enough for an interval.
const SHORT_RACE: Duration = Duration::from_millis(200);
const FEW_PAIRS: usize = 8;

/// Loads and runs the very bytes that are to be written, and measures: the race against the original with one thread, and
/// what the nodes in float cost.
pub(super) fn try_out(
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
    let mut original = lab.original(&order.model, 1)?;
    let mut candidate = lab.session_at(&encoded.path(), 1).map_err(refuse)?;
    let names = outputs(&candidate);
    let Some((inputs, _)) = held.pairs.first() else { return Ok((None, None)) };
    run(&mut candidate, inputs, &names).map_err(refuse)?;
    let inputs: Vec<Vec<Tensor>> = held.pairs.iter().map(|(inputs, _)| inputs.clone()).collect();
    let mut cost = None;
    if let Some(without) = without_search {
        let mut all = lab.session(without, 1).map_err(refuse)?;
        let pairs = race(&mut candidate, &mut all, &inputs, PAIRS, Instant::now() + RACE, &Cancel::default());
        cost = speedup(&pairs).map(|speedup| speedup.median);
    }
    let (most, time) = if order.search.is_some() { (PAIRS, RACE) } else { (FEW_PAIRS, SHORT_RACE) };
    let pairs = race(&mut original, &mut candidate, &inputs, most, Instant::now() + time, &Cancel::default());
    let median = |of: fn(&Pair) -> Duration| {
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
