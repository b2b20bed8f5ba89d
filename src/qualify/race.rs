//! Two sessions on the same inputs by turns: what each answers, and what each takes.
//!
//! Which of the two goes first alternates, so that neither always finds the caches as the other left them. Of a quick
//! model every turn is a run that is not timed, for the same reason, and several that are.

use std::time::{Duration, Instant};

use crate::core::qualify::Pair;
use crate::core::tensor::Tensor;
use crate::engine::cancel::Cancel;
use crate::engine::{Call, RunError, Session};

/// A run that is quicker than this has one before it that is not timed.
const QUICK: Duration = Duration::from_millis(5);
/// A turn of a quick model takes about so long.
const TURN: Duration = Duration::from_millis(1);
/// The most timed runs of a turn.
const MOST_RUNS: u32 = 64;
/// The runs by which a turn is found: by their median, since one or two may be held up by something else.
const TRIAL_RUNS: usize = 5;
/// A run that takes so long is no quick one that was held up.
const SLOW: Duration = Duration::from_millis(50);

/// What one side answered: its outputs in the order of the original's.
pub type Answer = Result<Vec<Tensor>, RunError>;

/// Both sides on one input.
pub struct Round {
    /// The original's answer.
    pub original: Answer,
    /// The candidate's.
    pub candidate: Answer,
}

/// How a turn goes, which is the same for both sides: else what the caches hold and the clock's grain would weigh on one only.
#[derive(Clone, Copy)]
struct Turn {
    untimed: u32,
    timed: u32,
}

/// A race under way.
pub struct Race<'a> {
    original: &'a mut dyn Session,
    candidate: &'a mut dyn Session,
    outputs: Vec<String>,
    cancel: &'a Cancel,
    /// Found once both are warm.
    turn: Option<Turn>,
    candidate_first: bool,
    pairs: Vec<Pair>,
}

impl<'a> Race<'a> {
    /// A race between two sessions that take and give the same; `cancel` ends it from another thread.
    pub fn new(original: &'a mut dyn Session, candidate: &'a mut dyn Session, cancel: &'a Cancel) -> Race<'a> {
        let outputs = original.spec().outputs.iter().map(|output| output.name.clone()).collect();
        Race { original, candidate, outputs, cancel, turn: None, candidate_first: false, pairs: Vec::new() }
    }

    /// Runs both on one input. The first round warms both up and is not timed; every later one in which both answer is
    /// a pair.
    pub fn round(&mut self, inputs: &[Tensor]) -> Round {
        let Some(turn) = self.turn else { return self.warm_up(inputs) };
        let (original, candidate);
        if self.candidate_first {
            candidate = self.take_turn(true, inputs, turn);
            original = self.take_turn(false, inputs, turn);
        } else {
            original = self.take_turn(false, inputs, turn);
            candidate = self.take_turn(true, inputs, turn);
        }
        self.candidate_first = !self.candidate_first;
        if let (Ok((_, original)), Ok((_, candidate))) = (&original, &candidate) {
            self.pairs.push(Pair { original: *original, candidate: *candidate });
        }
        Round { original: original.map(|(answer, _)| answer), candidate: candidate.map(|(answer, _)| answer) }
    }

    /// The pairs so far.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    fn warm_up(&mut self, inputs: &[Tensor]) -> Round {
        let once = Turn { untimed: 0, timed: 1 };
        let original = self.take_turn(false, inputs, once);
        let candidate = self.take_turn(true, inputs, once);
        if original.is_ok() && candidate.is_ok() {
            let paces = (self.pace(false, inputs), self.pace(true, inputs));
            self.turn = paces.0.ok().zip(paces.1.ok()).map(|(original, candidate)| turn_for(original.min(candidate)));
        }
        Round { original: original.map(|(answer, _)| answer), candidate: candidate.map(|(answer, _)| answer) }
    }

    /// What a run of a side that is warm takes: the median of several, unless it is surely slow.
    fn pace(&mut self, candidate: bool, inputs: &[Tensor]) -> Result<Duration, RunError> {
        let mut times = Vec::with_capacity(TRIAL_RUNS);
        while times.len() < TRIAL_RUNS && times.iter().all(|time| *time < SLOW) {
            times.push(self.take_turn(candidate, inputs, Turn { untimed: 0, timed: 1 })?.1);
        }
        times.sort_unstable();
        Ok(times.get(times.len() / 2).copied().unwrap_or_default())
    }

    /// The last answer, and what a run took.
    fn take_turn(
        &mut self,
        candidate: bool,
        inputs: &[Tensor],
        turn: Turn,
    ) -> Result<(Vec<Tensor>, Duration), RunError> {
        let session = if candidate { &mut *self.candidate } else { &mut *self.original };
        for _ in 0..turn.untimed {
            run(session, inputs, &self.outputs, self.cancel)?;
        }
        let begun = Instant::now();
        let mut answer = run(session, inputs, &self.outputs, self.cancel)?;
        for _ in 1..turn.timed {
            answer = run(session, inputs, &self.outputs, self.cancel)?;
        }
        Ok((answer, begun.elapsed() / turn.timed.max(1)))
    }
}

fn turn_for(run: Duration) -> Turn {
    if run >= QUICK {
        return Turn { untimed: 0, timed: 1 };
    }
    let runs = TURN.as_nanos() / run.as_nanos().max(1);
    Turn { untimed: 1, timed: u32::try_from(runs).unwrap_or(MOST_RUNS).clamp(1, MOST_RUNS) }
}

fn run(session: &mut dyn Session, inputs: &[Tensor], outputs: &[String], cancel: &Cancel) -> Answer {
    let answer = session.run(&[Call { inputs, outputs, cancel }]).pop();
    answer.unwrap_or_else(|| Err(RunError::Graph("the session gave no answer".to_owned())))
}

/// Races over the inputs, again and again, until there are so many pairs, the time has come, or a side gives no answer.
pub fn race(
    original: &mut dyn Session,
    candidate: &mut dyn Session,
    inputs: &[Vec<Tensor>],
    pairs: usize,
    until: Instant,
    cancel: &Cancel,
) -> Vec<Pair> {
    let mut race = Race::new(original, candidate, cancel);
    for inputs in inputs.iter().cycle() {
        if race.pairs.len() >= pairs || Instant::now() >= until {
            break;
        }
        let round = race.round(inputs);
        if round.original.is_err() || round.candidate.is_err() {
            break;
        }
    }
    race.pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::canary::synthetic_inputs;
    use crate::core::qualify::speedup;
    use crate::core::tensor::{DataType, ModelSpec, TensorSpec};
    use crate::engine::fake::FakeSession;

    fn session(milliseconds: u64) -> FakeSession {
        let spec =
            |name: &str| TensorSpec { name: name.into(), datatype: DataType::Fp32, shape: vec![2], optional: false };
        let spec = ModelSpec { inputs: vec![spec("x")], outputs: vec![spec("x")], ..ModelSpec::default() };
        FakeSession { spec, takes: Duration::from_millis(milliseconds) }
    }

    #[test]
    fn the_slower_one_is_told_from_the_faster() {
        let (mut slow, mut fast) = (session(24), session(6));
        let inputs = synthetic_inputs(&slow.spec).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let pairs = race(&mut slow, &mut fast, &[inputs], 8, until, &Cancel::default());
        assert_eq!(pairs.len(), 8);
        let found = speedup(&pairs).unwrap();
        assert!(found.median > 1.5, "{found}");
    }

    #[test]
    fn it_ends_with_its_time_and_with_its_switch() {
        let (mut one, mut other) = (session(5), session(5));
        let inputs = [synthetic_inputs(&one.spec).unwrap()];
        let begun = Instant::now();
        assert!(
            race(&mut one, &mut other, &inputs, 1_000_000, begun + Duration::from_millis(50), &Cancel::default()).len()
                < 100
        );
        let ended = Cancel::default();
        ended.cancel(crate::engine::cancel::Reason::Stopping);
        let far = begun + Duration::from_secs(3600);
        assert!(race(&mut one, &mut other, &inputs, 10, far, &ended).is_empty());
        assert!(race(&mut one, &mut other, &[], 10, far, &Cancel::default()).is_empty());
    }

    struct Counted(FakeSession, usize);

    impl Session for Counted {
        fn spec(&self) -> &ModelSpec {
            self.0.spec()
        }

        fn run(&mut self, calls: &[Call<'_>]) -> Vec<Answer> {
            self.1 += 1;
            self.0.run(calls)
        }
    }

    #[test]
    fn both_sides_run_equally_often_however_much_quicker_one_is() {
        // Only the candidate is quick: the original has as many runs that are not timed, and as many that are.
        let (mut slow, mut fast) = (Counted(session(8), 0), Counted(session(0), 0));
        let inputs = synthetic_inputs(&slow.0.spec).unwrap();
        let cancel = Cancel::default();
        // Where the box holds up three of five runs that take nothing, another warm-up tells.
        let by_the_quicker = (0..20).any(|_| {
            let mut race = Race::new(&mut slow, &mut fast, &cancel);
            race.round(&inputs);
            race.turn.is_some_and(|turn| turn.untimed == 1 && turn.timed > 1)
        });
        assert!(by_the_quicker);
        let warm = (slow.1, fast.1);
        let mut race = Race::new(&mut slow, &mut fast, &cancel);
        race.turn = Some(Turn { untimed: 1, timed: 3 });
        (0..4).for_each(|_| drop(race.round(&inputs)));
        assert_eq!(race.pairs().len(), 4);
        drop(race);
        assert_eq!((slow.1 - warm.0, fast.1 - warm.1), (16, 16));
    }

    #[test]
    fn a_quick_model_runs_more_often_in_a_turn() {
        assert_eq!((turn_for(Duration::from_millis(80)).untimed, turn_for(Duration::from_millis(80)).timed), (0, 1));
        assert_eq!(turn_for(Duration::from_micros(100)).timed, 10);
        assert_eq!(turn_for(Duration::from_nanos(1)).timed, MOST_RUNS);
        assert_eq!(turn_for(Duration::from_millis(2)).timed, 1);
    }
}
