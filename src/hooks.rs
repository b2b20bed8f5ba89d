//! A way for the project's own tests to cause faults: not in a shipped binary.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use actix::Recipient;
use bytes::Bytes;

use crate::actors::supervisor::PanicIn;
use crate::core::tensor::{DataType, ModelSpec, Tensor, TensorData};
use crate::engine::cancel::Interrupt;
use crate::engine::{Call, RunError, Session};

static SUPERVISOR: Mutex<Option<Recipient<PanicIn>>> = Mutex::new(None);
static ANSWERS: AtomicU8 = AtomicU8::new(0);
static ONLY_QUANTIZED: AtomicBool = AtomicBool::new(false);
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The variable that holds the [`Answers`] of a daemon that is being started.
const AT_START: &str = "TEST_ANSWERS";

/// How sessions answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As the model does.
    Right,
    /// Every float is off by one.
    Wrong,
    /// Every float is NaN.
    Nan,
    /// Not until this changes, or the run is ended.
    Silent,
    /// Not until this changes: such a run cannot be ended.
    Deaf,
    /// With one panic, also of a run that is silent or deaf now; then right.
    Panic,
    /// Not at all: the graph fails.
    Fail,
    /// A tenth of a second late.
    Slow,
}

impl Answers {
    const ALL: [(&'static str, Answers); 8] = [
        ("right", Answers::Right),
        ("wrong", Answers::Wrong),
        ("nan", Answers::Nan),
        ("silent", Answers::Silent),
        ("deaf", Answers::Deaf),
        ("panic", Answers::Panic),
        ("fail", Answers::Fail),
        ("slow", Answers::Slow),
    ];

    /// What stands before a name that is meant for the quantised form only.
    const QUANTIZED: &str = "quantized-";

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Answers> {
        Self::ALL.into_iter().find(|(other, _)| *other == name).map(|(_, answers)| answers)
    }

    fn now() -> Answers {
        let number = ANSWERS.load(Ordering::Relaxed);
        Self::ALL.into_iter().map(|(_, answers)| answers).find(|one| *one as u8 == number).unwrap_or(Answers::Right)
    }
}

/// Where faults are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks;

impl Hooks {
    /// Names the supervisor of this process.
    pub fn install(supervisor: Recipient<PanicIn>) {
        if let Ok(mut place) = SUPERVISOR.lock() {
            *place = Some(supervisor);
        }
    }

    /// Passes a fault on.
    pub fn panic(self, fault: PanicIn) {
        if let Ok(place) = SUPERVISOR.lock()
            && let Some(supervisor) = place.as_ref()
        {
            supervisor.do_send(fault);
        }
    }

    /// Sessions answer like this from now on.
    pub fn answer(self, answers: Answers) {
        ANSWERS.store(answers as u8, Ordering::Relaxed);
    }

    /// Sessions answer from now on as this word says, all or those of the quantised form only; whether it says anything.
    pub fn answer_by_name(self, name: &str) -> bool {
        let meant = name.strip_prefix(Answers::QUANTIZED);
        let Some(answers) = Answers::parse(meant.unwrap_or(name)) else { return false };
        ONLY_QUANTIZED.store(meant.is_some(), Ordering::Relaxed);
        self.answer(answers);
        true
    }

    /// The runs under way, a warm-up's among them.
    pub fn running(self) -> usize {
        RUNNING.load(Ordering::Relaxed)
    }

    /// Sessions answer as the environment says, from the start.
    pub fn answer_as_started() {
        if let Ok(name) = std::env::var(AT_START) {
            Hooks.answer_by_name(&name);
        }
    }
}

/// A session that answers as it is told to.
pub struct Faulty {
    session: Box<dyn Session>,
    quantized: bool,
}

impl Faulty {
    /// The session of this file.
    pub fn new(session: Box<dyn Session>, path: &Path) -> Faulty {
        Faulty { session, quantized: path.to_string_lossy().ends_with("_int8.onnx") }
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Interrupt for Flag {
    fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Counted;

impl Counted {
    fn begin() -> Counted {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session for Faulty {
    fn spec(&self) -> &ModelSpec {
        self.session.spec()
    }

    fn run(&mut self, calls: &[Call<'_>]) -> Vec<Result<Vec<Tensor>, RunError>> {
        if ONLY_QUANTIZED.load(Ordering::Relaxed) && !self.quantized {
            return self.session.run(calls);
        }
        let _counted = Counted::begin();
        if calls.iter().any(|call| hold_back(call).is_err()) {
            return calls.iter().map(|_| Err(RunError::Cancelled)).collect();
        }
        let mut results = self.session.run(calls);
        let value = match Answers::now() {
            Answers::Fail => {
                return calls.iter().map(|_| Err(RunError::Graph("a test has it fail".to_owned()))).collect();
            }
            Answers::Slow => {
                std::thread::sleep(Duration::from_millis(100));
                return results;
            }
            Answers::Wrong => |value: f32| value + 1.0,
            Answers::Nan => |_| f32::NAN,
            _ => return results,
        };
        results.iter_mut().flatten().for_each(|outputs| {
            outputs.iter_mut().for_each(|output| {
                if let Some(changed) = changed(output, value) {
                    *output = changed;
                }
            });
        });
        results
    }
}

#[allow(clippy::panic)]
fn hold_back(call: &Call<'_>) -> Result<(), RunError> {
    let flag = Arc::new(Flag::default());
    let mut is_armed = false;
    loop {
        match Answers::now() {
            Answers::Silent if flag.0.load(Ordering::Relaxed) => return Err(RunError::Cancelled),
            Answers::Silent if !is_armed => {
                call.cancel.begin(flag.clone()).map_err(|_| RunError::Cancelled)?;
                is_armed = true;
            }
            Answers::Silent | Answers::Deaf => {}
            Answers::Panic => {
                Hooks.answer(Answers::Right);
                panic!("a test asked a run to panic")
            }
            _ => return Ok(()),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn changed(output: &Tensor, value: fn(f32) -> f32) -> Option<Tensor> {
    let (DataType::Fp32, TensorData::Raw(raw)) = (output.datatype(), output.data()) else { return None };
    let numbers = raw.as_chunks::<4>().0.iter().map(|bytes| value(f32::from_le_bytes(*bytes)));
    let raw: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    Tensor::new(output.name(), DataType::Fp32, output.shape().to_vec(), TensorData::Raw(Bytes::from(raw))).ok()
}
