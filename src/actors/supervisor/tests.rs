//! The supervisor over rooms with a session that runs nothing, under a clock that does not wait.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use actix_web::{App, HttpServer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::{EXIT_SOFTWARE, Factories, Ground, Supervisor};
use super::*;
use crate::actors::alert::{Alerts, AlertsParts};
use crate::actors::board::Board;
use crate::actors::model::load::Loader;
use crate::actors::model::{EndSwaps, Infer, Load, Model, ModelParts, Requalify, Shelf, Told, Unload};
use crate::actors::monitor::{Monitor, MonitorParts};
use crate::actors::web::{ServerFactory, Servers, Web};
use crate::config::{Access, Config};
use crate::core::status::ModelState;
use crate::core::tensor::ModelSpec;
use crate::engine::cancel::Cancel;
use crate::engine::fake::FakeSession;
use crate::engine::job::{Asker, Job, Reply};
use crate::engine::threads::Threads;
use crate::engine::{LoadError, Session};
use crate::metrics::Metrics;
use crate::qualify::Receipts;
use crate::state::StateDirectory;
use crate::trial::Within;

/// Takes any file for a model; makes a session when it is let.
struct FakeLoader {
    receipts: Receipts,
    slow: Arc<Slow>,
}

/// A door before which sessions wait to be made.
#[derive(Default)]
struct Slow {
    is_closed: AtomicBool,
    waiting: AtomicUsize,
}

impl Slow {
    fn pass(&self, cancel: &Cancel) -> Result<(), LoadError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.is_closed.load(Ordering::SeqCst) {
            if cancel.reason().is_some() {
                return Err(LoadError::Unusable { path: "fake".into(), reason: "ended".into() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Loader for FakeLoader {
    fn try_out(&self, _: &Path, _: &str, _: Option<Within<'_>>) -> Result<(), LoadError> {
        Ok(())
    }

    fn session(&self, _: &Path, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError> {
        self.slow.pass(cancel)?;
        Ok(Box::new(FakeSession { spec: ModelSpec::default(), takes: Duration::ZERO }))
    }

    fn light_session(&self, path: &Path, _: usize, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError> {
        self.session(path, cancel)
    }

    fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    fn leave(&self) {}
}

struct House {
    supervisor: Addr<Supervisor>,
    board: Arc<Board>,
    threads: Arc<Threads>,
    servers: Arc<Servers>,
    slow: Arc<Slow>,
    /// The model room that was built last.
    model: Arc<Mutex<Option<Addr<Model>>>>,
    /// When the model room was built, each time.
    built: Arc<Mutex<Vec<Instant>>>,
    left: oneshot::Receiver<i32>,
    _file: tempfile::NamedTempFile,
}

impl House {
    fn build(change: impl FnOnce(&mut Config)) -> House {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a model").unwrap();
        let mut config = Config::default();
        config.model.path = file.path().to_owned();
        config.model.canary_seconds = 0.0;
        config.server.workers = 1;
        change(&mut config);
        let config = Arc::new(config);
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let metrics = Metrics::new("fake", "0").unwrap();
        let address = listener.local_addr().unwrap();
        let board = Board::new(Arc::clone(&config), address, "fake".into(), "0".into(), Arc::clone(&metrics));
        let threads = Threads::start(1, 64, Arc::new(|_, _| {})).unwrap();
        let slow = Arc::<Slow>::default();
        let receipts = Receipts::new(Arc::new(StateDirectory::in_memory()), "0");
        let parts = ModelParts {
            config,
            threads: Arc::clone(&threads),
            metrics,
            shelf: Arc::new(Shelf::default()),
            loader: Arc::new(FakeLoader { receipts, slow: Arc::clone(&slow) }),
            name: "fake".into(),
            board: Arc::clone(&board),
            bench: Arc::default(),
        };
        let built = Arc::<Mutex<Vec<Instant>>>::default();
        let room = Arc::<Mutex<Option<Addr<Model>>>>::default();
        let latest = Arc::clone(&room);
        let servers = Arc::<Servers>::default();
        let (model_built, web_board, web_servers) = (Arc::clone(&built), Arc::clone(&board), Arc::clone(&servers));
        let (alert_board, monitor_board) = (Arc::clone(&board), Arc::clone(&board));
        let listener = Arc::new(listener);
        let factories = Factories {
            model: Box::new(move |obituary, supervisor| {
                model_built.lock().unwrap().push(Instant::now());
                let events = supervisor.clone().recipient();
                let model = Model::new(parts.clone(), events, supervisor.recipient(), obituary).start();
                *latest.lock().unwrap() = Some(model.clone());
                model
            }),
            web: Box::new(move |obituary| {
                let server: ServerFactory = Arc::new(|listener, _| {
                    Ok(HttpServer::new(App::new).workers(1).disable_signals().listen(listener)?.run())
                });
                Web::new(Arc::clone(&web_board), Arc::clone(&listener), server, Arc::clone(&web_servers), obituary)
                    .start()
            }),
            alert: Box::new(move |obituary, supervisor, before| {
                let (config, metrics) = (alert_board.config(), Arc::clone(&alert_board.metrics));
                let parts = AlertsParts { config, metrics, started: alert_board.started, before };
                Alerts::new(parts, supervisor.clone().recipient(), supervisor.recipient(), obituary).start()
            }),
            monitor: Box::new(move |obituary, supervisor| {
                let parts = MonitorParts { board: Arc::clone(&monitor_board), probes: Arc::new(Vec::new) };
                Monitor::new(parts, supervisor.recipient(), obituary).start()
            }),
        };
        let (leave, left) = oneshot::channel();
        let ground = Ground {
            board: Arc::clone(&board),
            threads: Arc::clone(&threads),
            servers: Arc::clone(&servers),
            state: Arc::new(StateDirectory::in_memory()),
            read_config: Arc::new(|| Ok((Config::default(), Access::default()))),
            leave,
            notifier: crate::notify::Notifier::default(),
        };
        let supervisor = Supervisor::new(ground, factories).start();
        House { supervisor, board, threads, servers, slow, model: room, built, left, _file: file }
    }

    /// Begins a load, which waits at the door.
    async fn begin_load(&self) -> oneshot::Receiver<Told> {
        self.slow.is_closed.store(true, Ordering::SeqCst);
        let (reply, told) = oneshot::channel();
        self.board.door().unwrap().load.do_send(Load { reply });
        while self.slow.waiting.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        told
    }

    /// A request, and the generation of the sessions that answer it.
    fn ask(&self) -> oneshot::Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            inputs: Vec::new(),
            outputs: Vec::new(),
            deadline: std::time::Instant::now() + Duration::from_secs(600),
            cancel: Arc::default(),
            reply,
            asker: Asker::Client,
            queued: std::time::Instant::now(),
            place: None,
        };
        self.board.door().unwrap().infer.do_send(Infer(job));
        answer
    }

    async fn wait_ready(&self) {
        while self.board.published().status.readiness().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The model room dies, and is built again: after how long.
    async fn die(&self) -> Duration {
        let before = self.built.lock().unwrap().len();
        let died = Instant::now();
        self.supervisor.do_send(PanicIn(Room::Model));
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if let Some(built) = self.built.lock().unwrap().get(before) {
                return *built - died;
            }
        }
    }

    async fn end(self) {
        self.servers.stop().await;
        self.threads.close();
        assert!(self.threads.join(std::time::Instant::now() + Duration::from_secs(30)));
    }
}

fn restarts(house: &House) -> u64 {
    house.board.metrics.actor_restarts.with_label_values(&["model"]).get()
}

#[actix_rt::test]
async fn a_room_comes_back_after_a_wait_that_doubles_until_its_budget_is_spent() {
    let mut house = House::build(|config| {
        config.server.restart_budget = 4;
        config.server.restart_backoff_ms = 1000;
    });
    house.wait_ready().await;
    tokio::time::pause();
    for (restart, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        let wait = house.die().await;
        let expected = Duration::from_secs(seconds);
        assert!((expected..expected + Duration::from_millis(20)).contains(&wait), "{wait:?} instead of {expected:?}");
        assert_eq!(restarts(&house), restart);
    }
    house.supervisor.do_send(PanicIn(Room::Model));
    assert_eq!((&mut house.left).await, Ok(EXIT_SOFTWARE));
    assert_eq!(restarts(&house), 4);
    tokio::time::resume();
    house.end().await;
}

#[actix_rt::test]
async fn whoever_asks_for_a_change_finds_it_on_the_board() {
    let house = House::build(|_| {});
    house.wait_ready().await;
    let door = house.board.door().unwrap();
    assert_eq!(door.unload.send(Unload).await, Ok(true));
    assert_eq!(house.board.published().status.model, ModelState::Unloaded);
    let (reply, told) = oneshot::channel();
    door.load.do_send(Load { reply });
    assert_eq!(told.await, Ok(Ok(())));
    assert_eq!(house.board.published().status.readiness(), Ok(()));
    house.end().await;
}

#[actix_rt::test]
async fn while_another_model_is_loaded_whoever_comes_is_answered_by_the_one_before() {
    let house = House::build(|_| {});
    house.wait_ready().await;
    let told = house.begin_load().await;
    // They come by the clock, whether or not the one before was answered; and the load ends when all of them were.
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(house.ask());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for answer in answers {
        let reply = answer.await.unwrap();
        assert_eq!((reply.generation, reply.result.is_ok()), (1, true));
    }
    assert_eq!(house.slow.waiting.load(Ordering::SeqCst), 1, "it is being loaded all the while");
    house.slow.is_closed.store(false, Ordering::SeqCst);
    assert_eq!(told.await, Ok(Ok(())));
    let reply = house.ask().await.unwrap();
    assert_eq!((reply.generation, reply.result.is_ok()), (2, true));
    house.end().await;
}

#[actix_rt::test]
async fn a_model_that_is_taken_out_while_another_one_is_loaded_stays_out() {
    let house = House::build(|_| {});
    house.wait_ready().await;
    let told = house.begin_load().await;
    assert_eq!(house.board.door().unwrap().unload.send(Unload).await, Ok(true));
    house.slow.is_closed.store(false, Ordering::SeqCst);
    assert!(told.await.is_err(), "nobody wants that load any more");
    assert!(house.ask().await.unwrap().result.is_err());
    assert_eq!(house.board.published().status.model, ModelState::Unloaded);
    house.end().await;
}

#[actix_rt::test]
async fn an_abort_ends_a_load_beside_the_engine() {
    let house = House::build(|_| {});
    house.wait_ready().await;
    let told = house.begin_load().await;
    house.threads.abort();
    assert!(matches!(told.await, Ok(Err(_)) | Err(_)));
    house.end().await;
}

#[actix_rt::test]
async fn once_a_stop_has_begun_nothing_is_measured_and_what_an_operator_wants_is_done() {
    let candidate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(candidate.path(), b"a quantised model").unwrap();
    let house = House::build(|config| config.model.quantized_path = Some(candidate.path().to_owned()));
    house.wait_ready().await;
    let (room, door) = (house.model.lock().unwrap().clone().unwrap(), house.board.door().unwrap());
    assert_eq!(door.qualify.send(Requalify).await.unwrap(), Ok(()));
    room.send(EndSwaps).await.unwrap();
    assert!(door.qualify.send(Requalify).await.unwrap().unwrap_err().contains("stopping"));
    let (reply, told) = oneshot::channel();
    door.load.do_send(Load { reply });
    assert_eq!(told.await, Ok(Ok(())));
    assert!(house.ask().await.unwrap().result.is_ok());
    house.end().await;
}
