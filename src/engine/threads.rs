//! The threads that own the sessions, behind one bounded queue.
//!
//! A thread takes a slice of jobs (of length one until batching comes), a session out of the pool, runs it, and
//! answers each job by the job's own reply. The exchange of the sessions is work on the same queue, and so is a load where
//! there is nothing that could be served meanwhile; else it is work beside. A thread that panics loses
//! its session and its jobs' replies, which their waiters see at once, and says so before it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cancel::{Cancel, Interrupt, Reason};
use super::job::{Asker, Job, Reply};
pub use super::pool::{Installed, SessionPool};
use super::queue::Queue;
use super::{Call, RunError, Session};
use crate::core::tensor::Tensor;

/// Places on the queue beside those for requests: the canary and loads.
const RESERVED: usize = 8;

/// Makes sessions and puts them into the pool, until its switch ends it.
pub type LoadWork = Box<dyn FnOnce(&SessionPool, &Arc<Cancel>) + Send>;

/// What a thread finds on the queue.
pub enum Work {
    /// Run the model.
    Run(Box<Job>),
    /// Change what is in the pool.
    Load {
        /// The longest that this should take: until then the engine is busy and not silent.
        limit: Duration,
        /// What to do.
        load: LoadWork,
    },
    /// Panic, to show what follows.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// What the threads say of themselves without being asked.
pub struct Pulse {
    start: Instant,
    last_run_ns: AtomicU64,
    runs: AtomicU64,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse { start: Instant::now(), last_run_ns: AtomicU64::new(0), runs: AtomicU64::new(0) }
    }

    fn beat(&self) {
        let since_start = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_run_ns.store(since_start, Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// When a run was last completed with an answer.
    pub fn last_run(&self) -> Option<Instant> {
        let nanoseconds = self.last_run_ns.load(Ordering::Relaxed);
        (nanoseconds > 0).then(|| self.start + Duration::from_nanos(nanoseconds))
    }

    /// Runs completed with an answer, the canary's among them.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}

/// What happened to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is there, and its first piece of work is done.
    Began,
    /// It died of a panic.
    Died,
}

/// Told the number of a thread and what happened to it.
pub type OnLife = Arc<dyn Fn(usize, Life) + Send + Sync>;

/// What a thread is at.
struct Busy {
    cancels: Vec<Arc<Cancel>>,
    /// Until when that is no reason to worry; none for the canary, which is what asks.
    until: Option<Instant>,
}

#[derive(Default)]
struct Running {
    aborted: bool,
    threads: HashMap<usize, Busy>,
}

struct Shared {
    queue: Arc<Queue<Work>>,
    pool: SessionPool,
    pulse: Pulse,
    running: Mutex<Running>,
    on_life: OnLife,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a thread is at, for as long as the guard lives; nothing is begun after an abort.
    fn begin(&self, number: usize, busy: Busy) -> Option<BusyGuard<'_>> {
        let mut running = self.running();
        if running.aborted {
            busy.cancels.iter().for_each(|cancel| cancel.cancel(Reason::Stopping));
            return None;
        }
        running.threads.insert(number, busy);
        Some(BusyGuard { number, shared: self })
    }
}

struct BusyGuard<'a> {
    number: usize,
    shared: &'a Shared,
}

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.shared.running().threads.remove(&self.number);
    }
}

/// Takes a job off the queue whose waiter has gone: its place and its memory are free at once.
struct Leave {
    queue: Weak<Queue<Work>>,
    number: u64,
}

impl Interrupt for Leave {
    fn interrupt(&self) {
        drop(self.queue.upgrade().and_then(|queue| queue.remove(self.number)));
    }
}

/// The handle on the threads: it outlives the actor that uses it.
pub struct Threads {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    /// Ends with the last work beside the queue.
    last_beside: Mutex<Option<Receiver<()>>>,
    works_beside: AtomicUsize,
}

impl Threads {
    /// Starts `count` threads behind a queue with room for `queue_limit` requests.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(count: usize, queue_limit: usize, on_life: OnLife) -> std::io::Result<Arc<Threads>> {
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(queue_limit.saturating_add(RESERVED))),
            pool: SessionPool::default(),
            pulse: Pulse::new(),
            running: Mutex::default(),
            on_life,
        });
        let (handles, last_beside) = (Mutex::default(), Mutex::default());
        let threads = Threads { shared, handles, last_beside, works_beside: AtomicUsize::new(0) };
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
        let mut handles = self.handles();
        // One that has ended before is this one's predecessor.
        handles.retain(|handle| !handle.is_finished());
        handles.push(handle);
        Ok(())
    }

    /// Requests for which the queue has room.
    pub fn room(&self) -> usize {
        self.shared.queue.limit().saturating_sub(RESERVED)
    }

    fn handles(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts work on the queue, at once or not at all. A job that is ended while it waits leaves the queue.
    ///
    /// # Errors
    /// The work comes back when the queue is full or closed.
    pub fn send(&self, work: Work) -> Result<(), Work> {
        let cancel = match &work {
            Work::Run(job) => Some(Arc::clone(&job.cancel)),
            _ => None,
        };
        let number = self.shared.queue.push(work)?;
        if let Some(cancel) = cancel {
            cancel.wait(Arc::new(Leave { queue: Arc::downgrade(&self.shared.queue), number }));
        }
        Ok(())
    }

    /// The threads' word on themselves.
    pub fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    /// Until when the requests and loads that are under way may take.
    pub fn busy_until(&self) -> Option<Instant> {
        self.shared.running().threads.values().filter_map(|busy| busy.until).max()
    }

    /// Closes the queue: what is on it is finished, then the threads end.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Ends what runs and what waits, and lets nothing begin any more.
    pub fn abort(&self) {
        let running: Vec<Arc<Cancel>> = {
            let mut running = self.shared.running();
            running.aborted = true;
            running.threads.values().flat_map(|busy| busy.cancels.iter().map(Arc::clone)).collect()
        };
        running.iter().for_each(|cancel| cancel.cancel(Reason::Stopping));
        for work in self.shared.queue.drain() {
            if let Work::Run(job) = work {
                job.cancel.cancel(Reason::Stopping);
            }
        }
    }

    /// Waits for every thread until `deadline`; whether all have ended.
    pub fn join(&self, deadline: Instant) -> bool {
        loop {
            let mut handles = self.handles();
            if handles.iter().all(JoinHandle::is_finished) {
                // A thread that panicked has said so at its death.
                handles.drain(..).for_each(|handle| drop(handle.join()));
                return true;
            }
            drop(handles);
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Says that a thread died.
struct Obituary<'a> {
    number: usize,
    shared: &'a Shared,
}

impl Drop for Obituary<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.shared.on_life)(self.number, Life::Died);
        }
    }
}

fn run(number: usize, shared: &Shared, first: Option<Work>) {
    let _obituary = Obituary { number, shared };
    if let Some(first) = first {
        perform(number, shared, first);
    }
    (shared.on_life)(number, Life::Began);
    while let Some(work) = shared.queue.pop() {
        perform(number, shared, work);
    }
}

fn perform(number: usize, shared: &Shared, work: Work) {
    match work {
        Work::Run(job) => answer(number, shared, vec![*job]),
        Work::Load { limit, load } => {
            let cancel = Arc::new(Cancel::default());
            let busy = Busy { cancels: vec![Arc::clone(&cancel)], until: Some(Instant::now() + limit) };
            if let Some(_busy) = shared.begin(number, busy) {
                load(&shared.pool, &cancel);
            }
        }
        #[cfg(feature = "test-hooks")]
        #[allow(clippy::panic)]
        Work::Panic => panic!("a test asked the engine thread to panic"),
    }
}

/// Runs a slice of jobs and answers each.
fn answer(number: usize, shared: &Shared, mut slice: Vec<Job>) {
    let begun = Instant::now();
    slice.retain_mut(|job| {
        job.place.take();
        !job.is_abandoned(begun)
    });
    if slice.is_empty() {
        return;
    }
    let busy = Busy {
        cancels: slice.iter().map(|job| Arc::clone(&job.cancel)).collect(),
        until: slice.iter().filter(|job| job.asker == Asker::Client).map(|job| job.deadline).max(),
    };
    let Some(busy) = shared.begin(number, busy) else { return };
    let (generation, results) = match shared.pool.take() {
        None => (0, slice.iter().map(|_| Err(RunError::NoModel)).collect()),
        Some((generation, mut session)) => {
            let results = run_slice(session.as_mut(), &slice);
            shared.pool.put(generation, session);
            (generation, results)
        }
    };
    drop(busy);
    let ended = Instant::now();
    if results.iter().any(Result::is_ok) {
        shared.pulse.beat();
    }
    for (job, result) in slice.into_iter().zip(results) {
        let queue = begun.saturating_duration_since(job.queued);
        // The waiter may have left meanwhile: then nobody wants the answer.
        let _ = job.reply.send(Reply { result, generation, queue, inference: ended - begun });
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

mod beside;

pub use beside::BesideWork;

#[cfg(test)]
mod tests;
