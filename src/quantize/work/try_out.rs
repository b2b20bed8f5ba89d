//! The bytes that are to be written, tried: they load, they run, and how fast beside the original.

use std::time::{Duration, Instant};

use super::lab::{HeldOut, Lab, outputs, run};
use super::report::Latency;
use super::stored::Stored;
use super::{Failure, Order, Watch};
use crate::core::qualify::{Pair, speedup};
use crate::core::tensor::Tensor;
use crate::engine::Session;
use crate::engine::cancel::Cancel;
use crate::onnx::proto::ModelProto;
use crate::qualify::race::race;

/// How long two models race for the report, and in how many pairs.
const RACE: Duration = Duration::from_millis(800);
const PAIRS: usize = 60;
/// How many runs are timed where nothing was asked of the accuracy either.
const A_LOOK: usize = 4;

/// Loads and runs the very bytes that are to be written, and measures: the race against the original with one thread, and
/// what the nodes in float cost. Without a search there is no race, and no session of the original: what runs took tells.
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
    let inputs: Vec<Vec<Tensor>> = held.pairs.iter().map(|(inputs, _)| inputs.clone()).collect();
    if order.search.is_none() {
        let mut candidate = lab.session_at(&encoded.path(), lab.threads).map_err(refuse)?;
        let took = timed(&mut candidate, &inputs).map_err(refuse)?;
        let latency = Latency { original_ms: median(&held.took), quantized_ms: median(&took), speedup: None };
        return Ok(((!took.is_empty()).then_some(latency), None));
    }
    // The larger one first: what loading it takes is free again when the other comes.
    let mut original = lab.original(&order.model, 1)?;
    let mut candidate = lab.session_at(&encoded.path(), 1).map_err(refuse)?;
    let names = outputs(&candidate);
    let Some(first) = inputs.first() else { return Ok((None, None)) };
    run(&mut candidate, first, &names).map_err(refuse)?;
    let mut cost = None;
    if let Some(without) = without_search {
        let mut all = lab.session(without, 1).map_err(refuse)?;
        let pairs = race(&mut candidate, &mut all, &inputs, PAIRS, Instant::now() + RACE, &Cancel::default());
        cost = speedup(&pairs).map(|speedup| speedup.median);
    }
    let pairs = race(&mut original, &mut candidate, &inputs, PAIRS, Instant::now() + RACE, &Cancel::default());
    let of = |of: fn(&Pair) -> Duration| median(&pairs.iter().map(of).collect::<Vec<Duration>>());
    let latency = Latency {
        original_ms: of(|pair| pair.original),
        quantized_ms: of(|pair| pair.candidate),
        speedup: speedup(&pairs),
    };
    Ok(((!pairs.is_empty()).then_some(latency), cost))
}

fn timed(session: &mut dyn Session, inputs: &[Vec<Tensor>]) -> Result<Vec<Duration>, String> {
    let names = outputs(session);
    let mut took = Vec::new();
    for inputs in inputs.iter().take(A_LOOK) {
        let begun = Instant::now();
        run(session, inputs, &names)?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// The median, in milliseconds.
fn median(took: &[Duration]) -> f64 {
    let mut all = took.to_vec();
    all.sort_unstable();
    all.get(all.len() / 2).map_or(0.0, |median| median.as_secs_f64() * 1e3)
}
