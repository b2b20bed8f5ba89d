//! Two sessions on golden inputs: how far they agree, and which is faster.

use std::time::{Duration, Instant};

use super::golden::{Golden, MOST_FRAMES};
use super::race::Race;
use crate::core::agreement::Comparison;
use crate::core::canary::synthetic_inputs;
use crate::core::qualify::{Measured, Pair, speedup};
use crate::core::tensor::Tensor;
use crate::engine::cancel::Cancel;
use crate::engine::{RunError, Session};

/// Pairs after which the speed is known well enough.
const ENOUGH_PAIRS: usize = 60;
/// Frames that are kept for more pairs.
const KEPT: usize = 16;

/// Holds the candidate against the original until both are known well enough, the time has come, or `cancel` ends it.
pub fn measure(
    original: &mut dyn Session,
    candidate: &mut dyn Session,
    mut golden: Golden,
    until: Instant,
    cancel: &Cancel,
) -> Measured {
    let begun = Instant::now();
    let made_up = synthetic_inputs(original.spec());
    let mut comparison = Comparison::default();
    let mut measured = Measured { no_frames: golden.none.take(), ..Measured::default() };
    let mut kept: Vec<Vec<Tensor>> = Vec::new();
    let mut race = Race::new(original, candidate, cancel);
    let is_over = || Instant::now() >= until || cancel.reason().is_some();
    let mut ended_early = false;
    loop {
        if measured.frames >= MOST_FRAMES {
            break;
        }
        let Some(inputs) = golden.next_frame(&is_over) else {
            ended_early = golden.has_more();
            break;
        };
        let round = race.round(&inputs);
        match (round.original, round.candidate) {
            (Err(RunError::Cancelled), _) | (_, Err(RunError::Cancelled)) => continue,
            // What the original does not answer is no frame of this model.
            (Err(_), _) => continue,
            (Ok(_), Err(error)) => measured.failed.get_or_insert_with(|| (0, error.to_string())).0 += 1,
            (Ok(float), Ok(other)) => comparison.add(&float, &other),
        }
        measured.frames += 1;
        if kept.len() < KEPT {
            kept.push(inputs);
        }
    }
    if measured.frames == 0 && measured.no_frames.is_none() && golden.left_out == 0 {
        measured.no_frames = Some("none of the frames can be read, or the original answers none".to_owned());
    }
    if kept.is_empty() {
        kept.extend(made_up);
    }
    more_pairs(&mut race, &kept, &mut measured, &mut comparison, &is_over);
    measured.frames_used = golden.left_out;
    measured.agreement = (comparison.samples() > 0).then(|| comparison.value());
    measured.agreement_text = comparison.text();
    measured.agreement_target = comparison.default_target();
    measured.speedup = speedup(race.pairs());
    measured.original_ms = median(race.pairs(), |pair| pair.original);
    measured.candidate_ms = median(race.pairs(), |pair| pair.candidate);
    measured.cut_short = ended_early || (race.pairs().len() < ENOUGH_PAIRS && is_over());
    measured.seconds = begun.elapsed().as_secs_f64();
    measured
}

/// Runs on over inputs that were run before, for their time.
fn more_pairs(
    race: &mut Race<'_>,
    kept: &[Vec<Tensor>],
    measured: &mut Measured,
    comparison: &mut Comparison,
    is_over: &impl Fn() -> bool,
) {
    for inputs in kept.iter().cycle() {
        if race.pairs().len() >= ENOUGH_PAIRS || is_over() {
            break;
        }
        let round = race.round(inputs);
        match (round.original, round.candidate) {
            (Ok(float), Ok(other)) if comparison.samples() == 0 => comparison.add(&float, &other),
            (Ok(_), Ok(_)) => {}
            (Ok(_), Err(error)) => {
                if measured.frames == 0 && error != RunError::Cancelled {
                    measured.failed.get_or_insert_with(|| (1, error.to_string()));
                }
                break;
            }
            (Err(_), _) => break,
        }
    }
}

fn median(pairs: &[Pair], of: impl Fn(&Pair) -> Duration) -> f64 {
    let mut times: Vec<Duration> = pairs.iter().map(of).collect();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::qualify::{Bounds, Verdict, judge};
    use crate::core::tensor::{DataType, ModelSpec, TensorSpec};
    use crate::engine::cancel::Reason;
    use crate::engine::fake::FakeSession;

    fn session(milliseconds: u64) -> FakeSession {
        let spec =
            |name: &str| TensorSpec { name: name.into(), datatype: DataType::Fp32, shape: vec![1, 4], optional: false };
        let spec = ModelSpec { inputs: vec![spec("x")], outputs: vec![spec("x")], ..ModelSpec::default() };
        FakeSession { spec, takes: Duration::from_millis(milliseconds) }
    }

    fn none(spec: &ModelSpec) -> Golden {
        let mut model = Config::default().model;
        model.path = "/nowhere/model.onnx".into();
        Golden::open(&model, spec, None, Default::default())
    }

    const BOUNDS: Bounds = Bounds { min_samples: 1, min_agreement: 0.0, min_speedup: 1.05 };

    #[test]
    fn without_frames_it_is_measured_on_made_up_inputs_and_proves_nothing() {
        let (mut original, mut candidate) = (session(8), session(2));
        let golden = none(&original.spec);
        let until = Instant::now() + Duration::from_secs(60);
        let measured = measure(&mut original, &mut candidate, golden, until, &Cancel::default());
        assert_eq!((measured.frames, measured.agreement, measured.cut_short), (0, Some(1.0), false));
        assert!(measured.speedup.unwrap().pairs >= ENOUGH_PAIRS && measured.original_ms > measured.candidate_ms);
        let verdict = judge(&measured, &BOUNDS);
        assert!(matches!(verdict, Verdict::Unproven(_)), "{verdict:?}");
        assert!(verdict.objections().contains("there is no folder of frames"), "{}", verdict.objections());
    }

    #[test]
    fn it_ends_with_its_time_and_says_so() {
        let (mut original, mut candidate) = (session(20), session(20));
        let golden = none(&original.spec);
        let until = Instant::now() + Duration::from_millis(100);
        let measured = measure(&mut original, &mut candidate, golden, until, &Cancel::default());
        assert!(measured.cut_short && measured.speedup.is_none_or(|speedup| speedup.pairs < ENOUGH_PAIRS));
        let ended = Cancel::default();
        ended.cancel(Reason::Stopping);
        let golden = none(&original.spec);
        let far = Instant::now() + Duration::from_secs(3600);
        assert!(measure(&mut original, &mut candidate, golden, far, &ended).cut_short);
    }
}
