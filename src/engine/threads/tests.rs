//! The threads with a session that runs nothing.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::*;
use crate::core::admission::Gate;
use crate::core::tensor::ModelSpec;
use crate::engine::fake::FakeSession;

const LONG: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(30);

fn threads(count: usize) -> Arc<Threads> {
    let threads = Threads::start(count, 4, Arc::new(|_, _| {})).unwrap();
    let session = || Box::new(FakeSession { spec: ModelSpec::default(), takes: LONG }) as Box<dyn Session>;
    threads.shared.pool.install((0..count).map(|_| session()).collect());
    threads
}

fn job(asker: Asker, gate: &Arc<Gate>) -> (Box<Job>, Arc<Cancel>, oneshot::Receiver<Reply>) {
    let (reply, answer) = oneshot::channel();
    let cancel = Arc::new(Cancel::default());
    let job = Job {
        inputs: Vec::new(),
        outputs: Vec::new(),
        deadline: Instant::now() + LONG,
        cancel: Arc::clone(&cancel),
        reply,
        asker,
        queued: Instant::now(),
        place: gate.take(1),
    };
    (Box::new(job), cancel, answer)
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_job_that_is_ended_while_it_waits_frees_its_place_though_the_engine_is_busy() {
    let (threads, gate) = (threads(1), Gate::new(8));
    let (running, _running, _answer) = job(Asker::Client, &gate);
    threads.send(Work::Run(running)).map_err(drop).unwrap();
    wait_until("the first job runs", || gate.held() == 0);
    let (waiting, cancel, answer) = job(Asker::Client, &gate);
    threads.send(Work::Run(waiting)).map_err(drop).unwrap();
    assert_eq!(gate.held(), 1);
    cancel.cancel(Reason::ClientGone);
    assert_eq!(gate.held(), 0);
    assert!(answer.blocking_recv().is_err());
    threads.close();
    threads.abort();
    assert!(threads.join(Instant::now() + PATIENCE));
}

#[test]
fn a_request_under_way_is_no_silence_and_a_canary_is() {
    let (threads, gate) = (threads(1), Gate::new(8));
    assert_eq!(threads.busy_until(), None);
    let (canary, cancel, answer) = job(Asker::Canary, &gate);
    threads.send(Work::Run(canary)).map_err(drop).unwrap();
    wait_until("the canary runs", || !threads.shared.running().threads.is_empty());
    assert_eq!(threads.busy_until(), None);
    cancel.cancel(Reason::Deadline);
    assert!(answer.blocking_recv().unwrap().result.is_err());
    let (request, cancel, answer) = job(Asker::Client, &gate);
    threads.send(Work::Run(request)).map_err(drop).unwrap();
    wait_until("the request runs", || threads.busy_until().is_some());
    cancel.cancel(Reason::Deadline);
    drop(answer);
    wait_until("the engine is free", || threads.busy_until().is_none());
    threads.close();
    assert!(threads.join(Instant::now() + PATIENCE));
}

#[test]
fn an_abort_answers_what_runs_and_what_waits_and_ends_a_load() {
    let (threads, gate) = (threads(2), Gate::new(8));
    let (loading, begun) = mpsc::channel();
    let load: LoadWork = Box::new(move |_, cancel| {
        loading.send(()).unwrap();
        while cancel.reason().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    threads.send(Work::Load { limit: LONG, load }).map_err(drop).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    let jobs: Vec<_> = (0..3)
        .map(|_| {
            let (job, cancel, answer) = job(Asker::Client, &gate);
            threads.send(Work::Run(job)).map_err(drop).unwrap();
            (cancel, answer)
        })
        .collect();
    threads.close();
    threads.abort();
    for (cancel, answer) in jobs {
        assert_eq!(cancel.reason(), Some(Reason::Stopping));
        assert!(!answer.blocking_recv().is_ok_and(|reply| reply.result.is_ok()));
    }
    assert!(threads.join(Instant::now() + PATIENCE));
    assert_eq!(gate.held(), 0);
}

#[test]
fn a_thread_that_panics_says_so_and_its_successor_takes_what_waits() {
    let (said, heard) = mpsc::channel();
    let threads = Threads::start(1, 4, Arc::new(move |_, life| said.send(life).unwrap())).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(Life::Began));
    let panic: LoadWork = Box::new(|_, _| panic!("the test's own"));
    threads.send(Work::Load { limit: LONG, load: panic }).map_err(drop).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(Life::Died));
    assert_eq!(threads.busy_until(), None);
    let (waiting, _cancel, answer) = job(Asker::Client, &Gate::new(1));
    threads.send(Work::Run(waiting)).map_err(drop).unwrap();
    threads.spawn(0, None).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(Life::Began));
    assert_eq!(answer.blocking_recv().unwrap().result.unwrap_err(), RunError::NoModel);
    threads.close();
    assert!(threads.join(Instant::now() + PATIENCE));
}

#[test]
fn work_beside_the_queue_goes_one_after_another_and_the_queue_goes_on_meanwhile() {
    let threads = Threads::start(1, 4, Arc::new(|_, _| {})).unwrap();
    let (said, heard) = mpsc::channel();
    let (go_on, held) = mpsc::channel::<()>();
    let told = said.clone();
    let first: BesideWork = Box::new(move |_| {
        told.send("first").unwrap();
        held.recv().unwrap();
        told.send("first has ended").unwrap();
    });
    threads.beside("first", first).unwrap();
    threads.beside("second", Box::new(move |_| said.send("second").unwrap())).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("first"));
    let (waiting, _cancel, answer) = job(Asker::Client, &Gate::new(1));
    threads.send(Work::Run(waiting)).map_err(drop).unwrap();
    assert_eq!(answer.blocking_recv().unwrap().result.unwrap_err(), RunError::NoModel, "it was answered");
    assert_eq!((threads.busy_until(), heard.try_recv().is_err()), (None, true));
    go_on.send(()).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("first has ended"));
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("second"));
    threads.close();
    assert!(threads.join(Instant::now() + PATIENCE));
}

#[test]
fn an_abort_ends_work_beside_the_queue_and_lets_none_begin() {
    let threads = Threads::start(1, 4, Arc::new(|_, _| {})).unwrap();
    let (begun, heard) = mpsc::channel();
    let work: BesideWork = Box::new(move |cancel| {
        begun.send(()).unwrap();
        while cancel.reason().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    threads.beside("ended", work).unwrap();
    threads.beside("never", Box::new(|_| panic!("it was begun after an abort"))).unwrap();
    heard.recv_timeout(PATIENCE).unwrap();
    threads.close();
    threads.abort();
    assert!(threads.join(Instant::now() + PATIENCE));
}

#[test]
fn threads_beside_the_queue_that_have_ended_are_let_go() {
    let threads = threads(1);
    for _ in 0..20 {
        threads.beside("short", Box::new(|_| {})).unwrap();
        // The engine's own goes on.
        wait_until("it ends", || threads.handles().iter().filter(|handle| !handle.is_finished()).count() == 1);
    }
    assert!(threads.handles().len() <= 2, "each that has ended keeps its stack");
    threads.close();
    assert!(threads.join(Instant::now() + PATIENCE));
}
