//! Asks every probe at once, each on a thread of its own, and waits no longer than it is told.
//!
//! A probe that does not answer in time is hung: it is not asked again until it has answered, and the others are asked as
//! before. Memory is bounded: a probe has at most one question and one answer under way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Probe, ProbeError};
use crate::core::sample::Reading;

/// How long the end waits for threads that are idle; they have nothing left to do but let go of what they hold.
const FAREWELL: Duration = Duration::from_millis(200);

/// Why a probe has no reading at a tick.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What the probe says.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// It has not answered.
    #[error("it does not answer")]
    Hung {
        /// When it was asked.
        since: Instant,
    },
}

/// What became of one probe at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The probe.
    pub probe: &'static str,
    /// Its reading.
    pub result: Result<Reading, Trouble>,
    /// Whether the reading was asked for at the tick before, and came after that had ended.
    pub late: bool,
    /// How long the probe took; how long it has been asked, where it hangs.
    pub took: Duration,
}

/// The threads of all probes. When it ends, idle threads are joined; one that hangs is left behind and ends once it answers.
pub struct Runner {
    workers: Vec<Worker>,
    answers: Receiver<Answer>,
    tick: u64,
}

struct Worker {
    probe: &'static str,
    questions: Option<Sender<u64>>,
    thread: Option<JoinHandle<()>>,
    /// When it was asked, until its answer has come.
    asked: Option<Instant>,
}

struct Answer {
    worker: usize,
    tick: u64,
    result: Result<Reading, ProbeError>,
    took: Duration,
}

impl Runner {
    /// Starts a thread a probe.
    pub fn start(probes: Vec<Box<dyn Probe>>) -> Runner {
        // One place a worker: a worker is asked again only after its answer was taken, so none ever waits to give one.
        let (sender, answers) = bounded(probes.len().max(1));
        let start = |(worker, probe): (usize, Box<dyn Probe>)| {
            let name = probe.name();
            let (questions, asked) = bounded(1);
            let answers = sender.clone();
            let thread = std::thread::Builder::new()
                .name(format!("probe-{name}"))
                .spawn(move || serve(worker, probe, &asked, &answers))
                .inspect_err(|error| tracing::error!("the thread of probe {name} could not be started: {error}"))
                .ok();
            Worker { probe: name, questions: thread.is_some().then_some(questions), thread, asked: None }
        };
        Runner { workers: probes.into_iter().enumerate().map(start).collect(), answers, tick: 0 }
    }

    /// Asks every probe that is idle, and takes what answers within `timeout`; one outcome a probe, in their order.
    ///
    /// `now` is when the tick is due, by which hung probes are timed. A reading that came after the tick before had ended is
    /// given as late where no newer one comes; an older one is thrown away.
    pub fn tick(&mut self, timeout: Duration, now: Instant) -> Vec<Outcome> {
        let deadline = Instant::now() + timeout;
        self.tick += 1;
        let mut taken: Vec<Option<Answer>> = self.workers.iter().map(|_| None).collect();
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer, &mut taken);
        }
        let mut waiting = (0..self.workers.len()).filter(|worker| self.ask(*worker, now)).count();
        while waiting > 0 {
            let Ok(answer) = self.answers.recv_deadline(deadline) else { break };
            let (worker, fresh) = (answer.worker, answer.tick == self.tick);
            self.take(answer, &mut taken);
            if fresh {
                waiting -= 1;
            } else if self.ask(worker, now) {
                waiting += 1;
            }
        }
        self.workers.iter().zip(taken).map(|(worker, answer)| worker.outcome(self.tick, answer, now)).collect()
    }

    /// Asks one that is idle; whether it was.
    fn ask(&mut self, worker: usize, now: Instant) -> bool {
        let Some(worker) = self.workers.get_mut(worker).filter(|worker| worker.asked.is_none()) else { return false };
        let asked = worker.questions.as_ref().is_some_and(|questions| questions.try_send(self.tick).is_ok());
        if asked {
            worker.asked = Some(now);
        }
        asked
    }

    fn take(&mut self, answer: Answer, taken: &mut [Option<Answer>]) {
        let Some((worker, place)) = self.workers.get_mut(answer.worker).zip(taken.get_mut(answer.worker)) else {
            return;
        };
        worker.asked = None;
        if answer.tick + 1 >= self.tick {
            *place = Some(answer);
        }
    }
}

impl Worker {
    fn outcome(&self, tick: u64, answer: Option<Answer>, now: Instant) -> Outcome {
        let hung = self.asked.filter(|_| answer.is_none());
        match (answer, hung) {
            (Some(answer), _) => Outcome {
                probe: self.probe,
                result: answer.result.map_err(Trouble::from),
                late: answer.tick != tick,
                took: answer.took,
            },
            (None, Some(since)) => Outcome {
                probe: self.probe,
                result: Err(Trouble::Hung { since }),
                late: false,
                took: now.saturating_duration_since(since),
            },
            (None, None) => Outcome {
                probe: self.probe,
                result: Err(Trouble::Probe(ProbeError::Failed("its thread is not running".to_owned()))),
                late: false,
                took: Duration::ZERO,
            },
        }
    }
}

/// The life of a probe's thread: from question to answer until one side of it closes.
fn serve(worker: usize, mut probe: Box<dyn Probe>, questions: &Receiver<u64>, answers: &Sender<Answer>) {
    for tick in questions {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| probe.read()))
            .unwrap_or_else(|_| Err(ProbeError::Failed("the probe panicked".to_owned())));
        if answers.send(Answer { worker, tick, result, took: start.elapsed() }).is_err() {
            return;
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        while let Ok(answer) = self.answers.try_recv() {
            if let Some(worker) = self.workers.get_mut(answer.worker) {
                worker.asked = None;
            }
        }
        for worker in &mut self.workers {
            worker.questions = None;
        }
        let deadline = Instant::now() + FAREWELL;
        for worker in self.workers.iter_mut().filter(|worker| worker.asked.is_none()) {
            let Some(thread) = worker.thread.take() else { continue };
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("the thread of probe {} ended in a panic", worker.probe);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;
    use crate::core::sample::{Process, Temperature};

    const SOON: Duration = Duration::from_millis(50);
    const AMPLE: Duration = Duration::from_secs(20);

    type Act = Box<dyn FnMut() -> Result<Reading, ProbeError> + Send>;

    struct Fake {
        name: &'static str,
        act: Act,
    }

    impl Probe for Fake {
        fn name(&self) -> &'static str {
            self.name
        }

        fn read(&mut self) -> Result<Reading, ProbeError> {
            (self.act)()
        }
    }

    fn fake(name: &'static str, act: impl FnMut() -> Result<Reading, ProbeError> + Send + 'static) -> Box<dyn Probe> {
        Box::new(Fake { name, act: Box::new(act) })
    }

    fn well(name: &'static str) -> Box<dyn Probe> {
        fake(name, || Ok(Reading::Process(Process::default())))
    }

    /// A gate at which readings wait; each passage lets one through.
    #[derive(Default)]
    struct Gate {
        passages: Mutex<u32>,
        changed: Condvar,
    }

    impl Gate {
        fn wait(&self) {
            let mut passages = self.changed.wait_while(self.passages.lock().unwrap(), |left| *left == 0).unwrap();
            *passages -= 1;
        }

        fn open(&self, passages: u32) {
            *self.passages.lock().unwrap() = passages;
            self.changed.notify_all();
        }
    }

    /// A probe that waits at the gate, and numbers its readings.
    fn gated(gate: &Arc<Gate>) -> Box<dyn Probe> {
        let (gate, mut count) = (Arc::clone(gate), 0);
        fake("gated", move || {
            gate.wait();
            count += 1;
            Ok(Reading::Temperatures(vec![Temperature {
                temperature_celsius: f64::from(count),
                ..Temperature::default()
            }]))
        })
    }

    fn number(outcome: &Outcome) -> Option<f64> {
        match &outcome.result {
            Ok(Reading::Temperatures(all)) => all.first().map(|one| one.temperature_celsius),
            _ => None,
        }
    }

    fn wait_for_answer(runner: &Runner) {
        while runner.answers.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_that_hangs_or_panics_or_fails_delays_no_other() {
        let gate = Arc::new(Gate::default());
        let panics = fake("panics", || std::panic::resume_unwind(Box::new("a fault of the test")));
        let fails = fake("fails", || Err(ProbeError::Absent("none".to_owned())));
        let mut runner = Runner::start(vec![well("first"), gated(&gate), panics, fails, well("last")]);
        let start = Instant::now();
        assert_eq!(runner.tick(SOON, start)[1].result, Err(Trouble::Hung { since: start }));
        while runner.workers.iter().filter(|worker| worker.asked.is_some()).count() > 1 + runner.answers.len() {
            std::thread::sleep(Duration::from_millis(1));
        }
        for tick in 1..4 {
            // What hangs is not waited for again: a tick ends when the others have answered.
            let outcomes = runner.tick(AMPLE, start + Duration::from_secs(tick));
            let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.probe).collect();
            assert_eq!(names, ["first", "gated", "panics", "fails", "last"]);
            assert!(outcomes[0].result.is_ok() && outcomes[4].result.is_ok());
            assert_eq!(outcomes[1].result, Err(Trouble::Hung { since: start }), "tick {tick}");
            assert_eq!(outcomes[1].took, Duration::from_secs(tick));
            assert_eq!(outcomes[2].result, Err(ProbeError::Failed("the probe panicked".to_owned()).into()));
            assert_eq!(outcomes[3].result, Err(ProbeError::Absent("none".to_owned()).into()));
        }
        assert!(start.elapsed() < AMPLE);
    }

    #[test]
    fn a_tick_ends_as_soon_as_all_have_answered() {
        let mut runner = Runner::start(vec![well("a"), well("b")]);
        let start = Instant::now();
        let outcomes = runner.tick(AMPLE, start);
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok() && !outcome.late));
        assert!(start.elapsed() < AMPLE / 2);
        assert!(Runner::start(Vec::new()).tick(AMPLE, start).is_empty());
    }

    #[test]
    fn an_answer_one_tick_old_is_given_as_late_unless_a_newer_one_comes() {
        let gate = Arc::new(Gate::default());
        let mut runner = Runner::start(vec![gated(&gate)]);
        let now = Instant::now();
        assert!(runner.tick(SOON, now).remove(0).result.is_err());
        gate.open(1);
        wait_for_answer(&runner);
        let late = runner.tick(SOON, now).remove(0);
        assert_eq!((number(&late), late.late), (Some(1.0), true));
        gate.open(2);
        wait_for_answer(&runner);
        let fresh = runner.tick(AMPLE, now).remove(0);
        assert_eq!((number(&fresh), fresh.late), (Some(3.0), false), "the second reading was late and is replaced");
    }

    #[test]
    fn an_older_answer_is_thrown_away_and_the_probe_asked_again() {
        let gate = Arc::new(Gate::default());
        let mut runner = Runner::start(vec![gated(&gate)]);
        let now = Instant::now();
        for _ in 0..3 {
            let outcome = runner.tick(SOON, now).remove(0);
            assert_eq!(outcome.result, Err(Trouble::Hung { since: now }));
        }
        gate.open(1);
        wait_for_answer(&runner);
        let later = now + Duration::from_secs(9);
        assert_eq!(runner.tick(SOON, later).remove(0).result, Err(Trouble::Hung { since: later }));
        gate.open(1);
        wait_for_answer(&runner);
        assert_eq!(number(&runner.tick(SOON, later).remove(0)), Some(2.0));
    }

    #[test]
    fn one_that_answers_within_a_later_tick_is_asked_again_in_it() {
        let (gate, slow) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        let mut runner = Runner::start(vec![gated(&gate), gated(&slow)]);
        let now = Instant::now();
        for _ in 0..3 {
            assert!(runner.tick(SOON, now).remove(0).result.is_err());
        }
        slow.open(1);
        wait_for_answer(&runner);
        let opener = std::thread::spawn(move || {
            std::thread::sleep(SOON);
            gate.open(2);
            while *gate.passages.lock().unwrap() > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            slow.open(1);
        });
        let outcome = runner.tick(AMPLE, now).remove(0);
        assert_eq!((number(&outcome), outcome.late), (Some(2.0), false));
        opener.join().unwrap();
    }

    #[test]
    fn the_end_joins_idle_threads_and_leaves_a_hung_one_behind() {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (gate, ended) = (Arc::new(Gate::default()), Arc::new(AtomicBool::new(false)));
        let flag = Flag(Arc::clone(&ended));
        let idle = fake("idle", move || {
            let _held = &flag;
            Ok(Reading::Gpus(Vec::new()))
        });
        let mut runner = Runner::start(vec![idle, gated(&gate)]);
        runner.tick(SOON, Instant::now());
        let start = Instant::now();
        drop(runner);
        assert!(start.elapsed() < AMPLE);
        assert!(ended.load(Ordering::SeqCst), "the idle thread has let go of its probe");
        gate.open(1);
    }
}
