//! The known-answer canary: when it is due, what counts as a wrong answer, and what it says of the model.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec, element_count};

/// The most elements of a synthetic input: beyond it the canary has no input of its own making.
const SYNTHETIC_LIMIT: usize = 64 << 20;

/// What the canary knows to ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Baseline {
    /// Two runs at warm-up agreed: later answers must agree too.
    KnownAnswer(Vec<Tensor>),
    /// The outputs cannot be compared: any answer in time will do.
    AnswerOnly {
        /// Why, for the log.
        reason: String,
    },
}

/// What the two warm-up runs teach.
pub fn learn(first: Result<Vec<Tensor>, String>, second: Result<Vec<Tensor>, String>, tolerance: f64) -> Baseline {
    let (first, second) = match (first, second) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => {
            return Baseline::AnswerOnly { reason: format!("the model refuses the canary's input: {error}") };
        }
    };
    if let Some(output) = first.iter().find(|output| !is_finite(output)) {
        return Baseline::AnswerOnly { reason: format!("output '{}' of the canary is not finite", output.name()) };
    }
    match compare(&first, &second, tolerance) {
        Ok(()) => Baseline::KnownAnswer(first),
        Err(difference) => Baseline::AnswerOnly { reason: format!("two runs of the canary differ: {difference}") },
    }
}

/// Whether `answer` is `reference`, number by number within `tolerance` times the largest of the output's
/// numbers (at least 1), integers, booleans and strings exactly.
///
/// # Errors
/// The first difference, in words.
pub fn compare(reference: &[Tensor], answer: &[Tensor], tolerance: f64) -> Result<(), String> {
    if reference.len() != answer.len() {
        return Err(format!("{} outputs instead of {}", answer.len(), reference.len()));
    }
    reference.iter().zip(answer).try_for_each(|(want, got)| compare_output(want, got, tolerance))
}

fn compare_output(want: &Tensor, got: &Tensor, tolerance: f64) -> Result<(), String> {
    let name = want.name();
    if want.shape() != got.shape() || want.datatype() != got.datatype() {
        return Err(format!("output '{name}' has another shape or type"));
    }
    let float = matches!(want.datatype(), DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64);
    let (Some(wanted), Some(given), true) = (want.to_f64(), got.to_f64(), float) else {
        return if want.data() == got.data() { Ok(()) } else { Err(format!("output '{name}' differs")) };
    };
    if given.iter().any(|value| !value.is_finite()) {
        return Err(format!("output '{name}' is not finite"));
    }
    let scale = wanted.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    let worst = wanted.iter().zip(&given).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs()));
    if worst <= tolerance * scale {
        Ok(())
    } else {
        Err(format!("output '{name}' is off by {worst:.3e}, more than {:.3e}", tolerance * scale))
    }
}

fn is_finite(output: &Tensor) -> bool {
    match output.datatype() {
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => {
            output.to_f64().is_none_or(|values| values.iter().all(|value| value.is_finite()))
        }
        _ => true,
    }
}

/// Inputs that fit the model, the same at every call: open dimensions are 1, floats lie in [0, 1), integers
/// and booleans are 0 or 1, strings are `0`. Optional inputs are left out. `None` where one would be too large.
pub fn synthetic_inputs(spec: &ModelSpec) -> Option<Vec<Tensor>> {
    spec.inputs.iter().filter(|input| !input.optional).map(synthetic_input).collect()
}

fn synthetic_input(input: &TensorSpec) -> Option<Tensor> {
    let shape: Vec<usize> = input.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
    let count = element_count(&shape).filter(|count| *count <= SYNTHETIC_LIMIT)?;
    // A linear congruential generator (Knuth's MMIX constants) with a fixed seed.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut raw = Vec::with_capacity(count.saturating_mul(input.datatype.element_bytes().unwrap_or(0)));
    match input.datatype {
        DataType::Bytes => {
            let strings = vec![Bytes::from_static(b"0"); count];
            return Tensor::new(&input.name, input.datatype, shape, TensorData::Strings(strings)).ok();
        }
        DataType::Fp32 => (0..count).for_each(|_| raw.extend(next().to_le_bytes())),
        DataType::Fp64 => (0..count).for_each(|_| raw.extend(f64::from(next()).to_le_bytes())),
        DataType::Fp16 => (0..count).for_each(|_| raw.extend(half::f16::from_f32(next()).to_le_bytes())),
        DataType::Bf16 => (0..count).for_each(|_| raw.extend(half::bf16::from_f32(next()).to_le_bytes())),
        integer => {
            let size = integer.element_bytes().unwrap_or(1);
            for _ in 0..count {
                raw.push(u8::from(next() >= 0.5));
                raw.extend(std::iter::repeat_n(0, size - 1));
            }
        }
    }
    Tensor::new(&input.name, input.datatype, shape, TensorData::Raw(Bytes::from(raw))).ok()
}

/// Whether a canary is due: its period has passed, and no run has been completed since the last one was sent.
pub fn is_due(now: Instant, period: Duration, last_sent: Option<Instant>, last_run: Option<Instant>) -> bool {
    let Some(sent) = last_sent else { return true };
    if now.duration_since(sent) < period {
        return false;
    }
    // A run that was completed within the last period has shown what the canary would show.
    last_run.is_none_or(|run| run <= sent || now.duration_since(run) >= period)
}

/// Whether a canary sent at `sent` has waited too long: nothing has been completed, and no request has been
/// running within its own deadline, for longer than `limit`.
pub fn is_overdue(
    now: Instant,
    limit: Duration,
    sent: Instant,
    last_run: Option<Instant>,
    busy_until: Option<Instant>,
) -> bool {
    let since = [Some(sent), last_run, busy_until].into_iter().flatten().max().unwrap_or(sent);
    now.checked_duration_since(since).is_some_and(|waited| waited > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Vec<Tensor> {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        vec![Tensor::new("y", DataType::Fp32, vec![values.len()], TensorData::Raw(raw.into())).unwrap()]
    }

    #[test]
    fn two_equal_runs_make_a_known_answer() {
        let baseline = learn(Ok(floats(&[1.0, 2.0])), Ok(floats(&[1.0, 2.0])), 0.001);
        assert_eq!(baseline, Baseline::KnownAnswer(floats(&[1.0, 2.0])));
    }

    #[test]
    fn a_refusal_a_difference_or_a_nan_leaves_only_the_question_for_an_answer() {
        for (first, second, word) in [
            (Err("no".to_owned()), Ok(floats(&[1.0])), "refuses"),
            (Ok(floats(&[1.0])), Ok(floats(&[2.0])), "differ"),
            (Ok(floats(&[f32::NAN])), Ok(floats(&[f32::NAN])), "finite"),
        ] {
            let Baseline::AnswerOnly { reason } = learn(first, second, 0.001) else { panic!("{word}") };
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn an_answer_within_the_tolerance_is_right_and_one_beyond_it_is_wrong() {
        assert!(compare(&floats(&[100.0, 0.0]), &floats(&[100.05, 0.05]), 0.001).is_ok());
        assert!(compare(&floats(&[100.0, 0.0]), &floats(&[100.2, 0.0]), 0.001).is_err());
        assert!(compare(&floats(&[1.0]), &floats(&[f32::NAN]), 0.001).unwrap_err().contains("finite"));
    }

    #[test]
    fn it_is_due_only_when_no_run_was_completed_in_the_period() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let period = Duration::from_secs(10);
        assert!(is_due(at(0), period, None, None));
        assert!(!is_due(at(9), period, Some(at(0)), None));
        assert!(is_due(at(10), period, Some(at(0)), None));
        assert!(!is_due(at(10), period, Some(at(0)), Some(at(5))), "a run came since");
        assert!(is_due(at(16), period, Some(at(0)), Some(at(5))), "but that was long ago");
    }

    #[test]
    fn a_busy_engine_is_never_overdue_while_it_completes_runs_or_keeps_a_deadline() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limit = Duration::from_secs(10);
        assert!(!is_overdue(at(10), limit, at(0), None, None));
        assert!(is_overdue(at(11), limit, at(0), None, None));
        assert!(!is_overdue(at(30), limit, at(0), Some(at(25)), None));
        assert!(!is_overdue(at(30), limit, at(0), None, Some(at(60))));
        assert!(is_overdue(at(75), limit, at(0), None, Some(at(60))));
    }

    #[test]
    fn synthetic_inputs_fit_the_model_and_are_the_same_every_time() {
        let input = |datatype, shape: &[i64], optional| TensorSpec {
            name: format!("{datatype}"),
            datatype,
            shape: shape.to_vec(),
            optional,
        };
        let mut inputs: Vec<TensorSpec> = DataType::ALL.iter().map(|d| input(*d, &[-1, 3], false)).collect();
        inputs.push(input(DataType::Fp32, &[], false));
        inputs.push(input(DataType::Fp32, &[7], true));
        let spec = ModelSpec { inputs, ..ModelSpec::default() };
        let made = synthetic_inputs(&spec).unwrap();
        assert_eq!(made.len(), DataType::ALL.len() + 1);
        assert!(made.iter().zip(&spec.inputs).all(|(tensor, want)| want.accepts(tensor.shape())));
        assert_eq!(synthetic_inputs(&spec), Some(made));
        let huge = ModelSpec { inputs: vec![input(DataType::Fp32, &[1 << 40], false)], ..ModelSpec::default() };
        assert_eq!(synthetic_inputs(&huge), None);
    }
}
