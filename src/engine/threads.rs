//! The threads that own the sessions, behind one bounded queue.
//!
//! A thread takes a slice of jobs (of length one until batching comes), a session out of the pool, runs it, and
//! answers each job by the job's own reply. A load is a job on the same queue. A thread that panics loses
//! its session and its jobs' replies, which their waiters see at once, and says so before it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::cancel::{Cancel, Reason};
use super::job::{Job, Reply};
use super::{Call, RunError, Session};
use crate::core::tensor::Tensor;

/// Places on the queue beside those for requests: the canary and loads.
const RESERVED: usize = 8;

/// What a thread finds on the queue.
pub enum Work {
    /// Run the model.
    Run(Box<Job>),
    /// Load a model and put its sessions into the pool.
    Load(Box<dyn FnOnce(&SessionPool) + Send>),
    /// Panic, to show what follows.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// The loaded sessions that no thread is using now.
#[derive(Default)]
pub struct SessionPool {
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    generation: u64,
    idle: Vec<Box<dyn Session>>,
}

impl SessionPool {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other sessions in the place of the ones before, which end with their last run. None: unloads.
    pub fn install(&self, sessions: Vec<Box<dyn Session>>) {
        let old = {
            let mut state = self.state();
            state.generation += 1;
            std::mem::replace(&mut state.idle, sessions)
        };
        drop(old);
    }

    /// The session used last is the one whose memory is still warm.
    fn take(&self) -> Option<(u64, Box<dyn Session>)> {
        let mut state = self.state();
        let generation = state.generation;
        state.idle.pop().map(|session| (generation, session))
    }

    fn put(&self, generation: u64, session: Box<dyn Session>) {
        let mut state = self.state();
        if state.generation == generation {
            state.idle.push(session);
        }
    }
}

/// What the threads say of themselves without being asked.
pub struct Pulse {
    start: Instant,
    last_run_ns: AtomicU64,
    busy_until_ns: AtomicU64,
    runs: AtomicU64,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse {
            start: Instant::now(),
            last_run_ns: AtomicU64::new(0),
            busy_until_ns: AtomicU64::new(0),
            runs: AtomicU64::new(0),
        }
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    fn at(&self, nanoseconds: u64) -> Option<Instant> {
        (nanoseconds > 0).then(|| self.start + Duration::from_nanos(nanoseconds))
    }

    /// When a run was last completed with an answer.
    pub fn last_run(&self) -> Option<Instant> {
        self.at(self.last_run_ns.load(Ordering::Relaxed))
    }

    /// The deadline of a request that is running now.
    pub fn busy_until(&self) -> Option<Instant> {
        self.at(self.busy_until_ns.load(Ordering::Relaxed))
    }

    /// Runs completed with an answer, the canary's among them.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}

/// Told the number of a thread that died of a panic.
pub type OnDeath = Arc<dyn Fn(usize) + Send + Sync>;

struct Shared {
    queue: Receiver<Work>,
    pool: SessionPool,
    pulse: Pulse,
    aborted: AtomicBool,
    running: Mutex<HashMap<usize, Arc<Cancel>>>,
    on_death: OnDeath,
}

/// The handle on the threads: it outlives the actor that uses it.
pub struct Threads {
    shared: Arc<Shared>,
    door: Mutex<Option<Sender<Work>>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts `count` threads behind a queue with room for `queue_limit` requests.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(count: usize, queue_limit: usize, on_death: OnDeath) -> std::io::Result<Arc<Threads>> {
        let (door, queue) = bounded(queue_limit.saturating_add(RESERVED));
        let shared = Arc::new(Shared {
            queue,
            pool: SessionPool::default(),
            pulse: Pulse::new(),
            aborted: AtomicBool::new(false),
            running: Mutex::default(),
            on_death,
        });
        let threads = Threads { shared, door: Mutex::new(Some(door)), handles: Mutex::default() };
        for number in 0..count.max(1) {
            threads.spawn(number, None)?;
        }
        Ok(Arc::new(threads))
    }

    /// Starts thread `number`, again after its death, with a first piece of work that waits for no queue.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(&self, number: usize, first: Option<Work>) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let handle =
            std::thread::Builder::new().name(format!("engine-{number}")).spawn(move || run(number, &shared, first))?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    /// Puts work on the queue, at once or not at all.
    ///
    /// # Errors
    /// The work comes back when the queue is full or closed.
    pub fn send(&self, work: Work) -> Result<(), Work> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        match door.as_ref() {
            None => Err(work),
            Some(door) => door.try_send(work).map_err(|error| match error {
                TrySendError::Full(work) | TrySendError::Disconnected(work) => work,
            }),
        }
    }

    /// The threads' word on themselves.
    pub fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    /// Closes the queue: what is on it is finished, then the threads end.
    pub fn close(&self) {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends what runs and drops what waits.
    pub fn abort(&self) {
        self.shared.aborted.store(true, Ordering::Release);
        for cancel in self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            cancel.cancel(Reason::Stopping);
        }
    }

    /// Waits for every thread until `deadline`; whether all have ended.
    pub fn join(&self, deadline: Instant) -> bool {
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        while !handles.iter().all(JoinHandle::is_finished) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // A thread that panicked has said so at its death.
        handles.into_iter().for_each(|handle| drop(handle.join()));
        true
    }
}

/// Says that a thread died, and of what it lost nothing that could be kept.
struct Obituary<'a> {
    number: usize,
    shared: &'a Shared,
}

impl Drop for Obituary<'_> {
    fn drop(&mut self) {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        if std::thread::panicking() {
            (self.shared.on_death)(self.number);
        }
    }
}

fn run(number: usize, shared: &Shared, first: Option<Work>) {
    let _obituary = Obituary { number, shared };
    for work in first.into_iter().chain(shared.queue.iter()) {
        match work {
            Work::Run(job) => answer(number, shared, vec![*job]),
            Work::Load(load) => load(&shared.pool),
            #[cfg(feature = "test-hooks")]
            #[allow(clippy::panic)]
            Work::Panic => panic!("a test asked the engine thread to panic"),
        }
    }
}

/// Runs a slice of jobs and answers each.
fn answer(number: usize, shared: &Shared, mut slice: Vec<Job>) {
    let begun = Instant::now();
    let aborted = shared.aborted.load(Ordering::Acquire);
    slice.retain_mut(|job| {
        job.place.take();
        !aborted && !job.is_abandoned(begun)
    });
    let Some(until) = slice.iter().map(|job| job.deadline).max() else { return };
    let results = match shared.pool.take() {
        None => slice.iter().map(|_| Err(RunError::NoModel)).collect(),
        Some((generation, mut session)) => {
            shared.pulse.busy_until_ns.store(shared.pulse.since_start(until), Ordering::Relaxed);
            {
                let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
                running.extend(slice.iter().map(|job| (number, Arc::clone(&job.cancel))));
            }
            let results = run_slice(session.as_mut(), &slice);
            shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            shared.pulse.busy_until_ns.store(0, Ordering::Relaxed);
            shared.pool.put(generation, session);
            results
        }
    };
    let ended = Instant::now();
    if results.iter().any(Result::is_ok) {
        shared.pulse.last_run_ns.store(shared.pulse.since_start(ended), Ordering::Relaxed);
        shared.pulse.runs.fetch_add(1, Ordering::Relaxed);
    }
    for (job, result) in slice.into_iter().zip(results) {
        let queue = begun.saturating_duration_since(job.queued);
        // The waiter may have left meanwhile: then nobody wants the answer.
        let _ = job.reply.send(Reply { result, queue, inference: ended - begun });
    }
}

fn run_slice(session: &mut dyn Session, slice: &[Job]) -> Vec<Result<Vec<Tensor>, RunError>> {
    let calls: Vec<Call<'_>> =
        slice.iter().map(|job| Call { inputs: &job.inputs, outputs: &job.outputs, cancel: &job.cancel }).collect();
    let mut results = session.run(&calls);
    // A slice is answered whole, whatever a session gives back.
    results.resize_with(slice.len(), || Err(RunError::Graph("the session gave no answer".to_owned())));
    results
}
