//! The supervisor: builds the rooms from factories, restarts what dies, keeps the one snapshot, drives the stop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::manager::Manager;
use super::record::Occasion;
use super::reload::ReadConfig;
use super::say::greet;
use super::{CanaryChanged, ChildDown, EngineBegan, ModelChanged};
use crate::actors::alert::{Alerts, AlertsView};
use crate::actors::board::{Board, Door, Published};
use crate::actors::model::{Model, ReviveEngine};
use crate::actors::monitor::Monitor;
use crate::actors::obituary::Obituary;
use crate::actors::web::{Publish, Servers, SetDoor, Web};
use crate::core::restart::{Restart, RestartHistory, RestartPolicy};
use crate::core::status::{ModelState, Phase, Room, StatusSnapshot};
use crate::core::throttle::Throttle;
use crate::engine::LoadError;
use crate::engine::threads::Threads;
use crate::notify::Notifier;
use crate::state::StateDirectory;

/// Exit code of a model file that cannot be used (`EX_DATAERR`).
pub const EXIT_MODEL: i32 = 65;
/// Exit code of a model file that is missing (`EX_NOINPUT`).
pub const EXIT_NO_INPUT: i32 = 66;
/// Exit code of a spent restart budget (`EX_SOFTWARE`).
pub const EXIT_SOFTWARE: i32 = 70;

/// The exit code of a daemon that could not begin because of its model.
pub fn exit_code_of(error: &LoadError) -> i32 {
    match error {
        LoadError::Missing { .. } => EXIT_NO_INPUT,
        LoadError::Unusable { .. } => EXIT_MODEL,
    }
}

/// The wait before a dead engine thread is started, where it could not be at once.
const REVIVE_AGAIN: Duration = Duration::from_millis(100);

/// Builds the alert room, which goes on from what the one before it has said.
pub type AlertFactory = Box<dyn Fn(Obituary, Addr<Supervisor>, Arc<AlertsView>) -> Addr<Alerts>>;

/// How each room is built, at the start and after its death.
pub struct Factories {
    /// Builds the model room, which reports to the recipients given.
    pub model: Box<dyn Fn(Obituary, Addr<Supervisor>) -> Addr<Model>>,
    /// Builds the web room.
    pub web: Box<dyn Fn(Obituary) -> Addr<Web>>,
    /// Builds the alert room.
    pub alert: AlertFactory,
    /// Builds the monitor room, on an arbiter of its own.
    pub monitor: Box<dyn Fn(Obituary, Addr<Supervisor>) -> Addr<Monitor>>,
}

/// What the supervisor does not build.
pub struct Ground {
    /// What handlers read.
    pub board: Arc<Board>,
    /// The engine.
    pub threads: Arc<Threads>,
    /// The HTTP servers.
    pub servers: Arc<Servers>,
    /// Files that outlive a restart.
    pub state: Arc<StateDirectory>,
    /// Reads the configuration again.
    pub read_config: ReadConfig,
    /// Told the exit code; dropped without one, the supervisor has died.
    pub leave: oneshot::Sender<i32>,
    /// The line to the service manager.
    pub notifier: Notifier,
}

/// The root of the house.
pub struct Supervisor {
    pub(super) board: Arc<Board>,
    pub(super) threads: Arc<Threads>,
    pub(super) servers: Arc<Servers>,
    pub(super) state: Arc<StateDirectory>,
    pub(super) read_config: ReadConfig,
    /// When the flight recorder was last written on each occasion.
    pub(super) recorded: BTreeMap<Occasion, Instant>,
    pub(super) leave: Option<oneshot::Sender<i32>>,
    factories: Factories,
    policy: RestartPolicy,
    histories: HashMap<Room, RestartHistory>,
    pub(super) published: Published,
    dead_threads: BTreeSet<usize>,
    pub(super) warnings: HashMap<&'static str, Throttle>,
    /// Whether the log's last word is that the daemon is not ready.
    pub(super) said_not_ready: bool,
    pub(super) manager: Manager,
    pub(super) model: Option<Addr<Model>>,
    pub(super) web: Option<Addr<Web>>,
    pub(super) alert: Option<Addr<Alerts>>,
    pub(super) monitor: Option<Addr<Monitor>>,
}

impl Supervisor {
    /// A supervisor of nothing yet; its rooms are built when it starts.
    pub fn new(ground: Ground, factories: Factories) -> Supervisor {
        let Ground { board, threads, servers, state, read_config, leave, notifier } = ground;
        let config = board.config();
        let server = &config.server;
        let policy = RestartPolicy {
            budget: server.restart_budget,
            window: Duration::from_secs_f64(server.restart_window_seconds),
            backoff: Duration::from_millis(server.restart_backoff_ms),
            max_backoff: Duration::from_secs(30),
        };
        Supervisor {
            board,
            threads,
            servers,
            state,
            read_config,
            recorded: BTreeMap::new(),
            leave: Some(leave),
            factories,
            policy,
            histories: HashMap::new(),
            published: Published::default(),
            dead_threads: BTreeSet::new(),
            warnings: HashMap::new(),
            said_not_ready: true,
            manager: Manager::new(notifier),
            model: None,
            web: None,
            alert: None,
            monitor: None,
        }
    }

    fn build(&mut self, room: Room, context: &mut Context<Self>) {
        let obituary = Obituary::new(room, context.address().recipient());
        match room {
            Room::Web => self.web = Some((self.factories.web)(obituary)),
            Room::Model => self.model = Some((self.factories.model)(obituary, context.address())),
            Room::Alert => {
                let before = Arc::clone(&self.published.alerts);
                if before.ladder.as_ref().is_none_or(|ladder| ladder.shedding().is_empty()) {
                    // Asked for in the message in which the room died: nobody knows of it any more.
                    self.board.shed(None);
                }
                self.alert = Some((self.factories.alert)(obituary, context.address(), before));
            }
            Room::Monitor => self.monitor = Some((self.factories.monitor)(obituary, context.address())),
            Room::Engine | Room::Supervisor => return,
        }
        self.introduce();
        self.set_down(room, false);
        self.announce();
    }

    fn count_restart(&self, room: Room) {
        self.board.metrics.actor_restarts.with_label_values(&[room.name()]).inc();
    }

    /// Hands the snapshot and the door to the web room.
    fn announce(&self) {
        if let Some(web) = &self.web {
            let door = self.model.as_ref().map(|model| Door {
                infer: model.clone().recipient(),
                load: model.clone().recipient(),
                unload: model.clone().recipient(),
                qualify: model.clone().recipient(),
            });
            web.do_send(SetDoor(door));
            web.do_send(Publish(Arc::new(self.published.clone())));
        }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut StatusSnapshot)) {
        let before = self.published.status.readiness();
        change(&mut self.published.status);
        let after = self.published.status.readiness();
        self.announce();
        if before != after {
            // The journal has the line by the time that the service manager hears of it.
            self.say_readiness(after.clone());
            self.manager.readiness(&after);
        }
    }

    fn set_down(&mut self, room: Room, is_down: bool) {
        self.change(|status| {
            status.down.retain(|other| *other != room);
            if is_down {
                status.down.push(room);
            }
        });
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.published.status.phase == Phase::Stopping
    }

    fn revive_engine(&mut self, thread: usize, context: &mut Context<Self>) {
        if let Some(model) = &self.model {
            let asked =
                model.send(ReviveEngine { thread }).into_actor(self).map(move |started, supervisor, context| {
                    if !matches!(started, Ok(true)) {
                        supervisor.revive_later(thread, context);
                    }
                });
            context.spawn(asked);
        } else if self.is_leaving() {
            // Nobody is left to run what waits: its clients hear so.
            self.threads.abort();
        } else {
            self.revive_later(thread, context);
        }
    }

    /// The model room is down too, or the system gives no thread.
    fn revive_later(&mut self, thread: usize, context: &mut Context<Self>) {
        let wait = self.policy.backoff.max(REVIVE_AGAIN);
        context.run_later(wait, move |supervisor, context| supervisor.revive_engine(thread, context));
    }

    fn leave(&mut self, code: i32) {
        self.published.status.phase = Phase::Stopping;
        self.announce();
        self.leave.take().map(|leave| leave.send(code));
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.manager.readiness(&self.published.status.readiness());
        self.build(Room::Web, context);
        self.build(Room::Model, context);
        self.build(Room::Alert, context);
        self.build(Room::Monitor, context);
        self.watch_rooms(context);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Nobody supervises the supervisor: its death is the daemon's, and the service manager's to answer.
        if self.leave.is_some() {
            tracing::error!(event = "supervisor_down", "the supervisor died: the daemon leaves");
        }
    }
}

impl Handler<ChildDown> for Supervisor {
    type Result = ();

    fn handle(&mut self, down: ChildDown, context: &mut Self::Context) {
        let ChildDown { room, thread, crashed } = down;
        match room {
            Room::Model => self.model = None,
            Room::Web => self.web = None,
            Room::Alert => self.alert = None,
            Room::Monitor => self.monitor = None,
            Room::Engine => drop(self.dead_threads.insert(thread)),
            Room::Supervisor => {}
        }
        if self.is_leaving() {
            if room == Room::Engine && self.dead_threads.len() >= self.board.config().model.sessions {
                // The last one, and not worth a load any more: what waits is answered with an error.
                self.threads.abort();
            }
            return;
        }
        let verdict = self.histories.entry(room).or_default().died(Instant::now(), &self.policy);
        let Restart::After(wait) = verdict else {
            tracing::error!(event = "restart_budget_spent", %room, crashed, "{room} died too often: the daemon leaves");
            return self.leave(EXIT_SOFTWARE);
        };
        tracing::error!(event = "room_down", %room, crashed, wait_ms = wait.as_millis(), "{room} is down, back soon");
        self.set_down(room, true);
        if crashed {
            self.write_recording(Occasion::Panic, format!("the {room} room died"));
        }
        context.run_later(wait, move |supervisor, context| match room {
            // Also in a stop: what was admitted waits for it.
            Room::Engine => supervisor.revive_engine(thread, context),
            _ if supervisor.is_leaving() => {}
            _ => {
                supervisor.build(room, context);
                supervisor.count_restart(room);
            }
        });
    }
}

impl Handler<EngineBegan> for Supervisor {
    type Result = ();

    fn handle(&mut self, began: EngineBegan, _: &mut Self::Context) {
        if self.dead_threads.remove(&began.thread) {
            self.count_restart(Room::Engine);
            if self.dead_threads.is_empty() && !self.is_leaving() {
                self.set_down(Room::Engine, false);
            }
        }
    }
}

impl Handler<ModelChanged> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, changed: ModelChanged, _: &mut Self::Context) -> Self::Result {
        if !self.is_leaving() {
            self.model_changed(changed);
        }
        // Whoever asked for the change is told when the board shows it.
        let shown = self.web.as_ref().map(|web| web.send(Publish(Arc::new(self.published.clone()))));
        Box::pin(async move {
            if let Some(shown) = shown {
                let _ = shown.await;
            }
        })
    }
}

impl Supervisor {
    fn model_changed(&mut self, changed: ModelChanged) {
        let state = match changed {
            ModelChanged::Loading => ModelState::Loading,
            ModelChanged::Unloaded => ModelState::Unloaded,
            ModelChanged::Stands(qualification) => {
                self.published.qualification = qualification;
                return self.announce();
            }
            ModelChanged::Ready(model) => {
                if self.published.status.phase == Phase::Starting {
                    greet(&self.board, &model);
                }
                self.published.model = Some(model);
                ModelState::Ready
            }
            ModelChanged::Failed(error) => {
                if self.published.status.phase == Phase::Starting {
                    tracing::error!(event = "model_failed", "{error}");
                    return self.leave(exit_code_of(&error));
                }
                if let Some(held_back) = self.occurred("model_failed") {
                    tracing::error!(event = "model_failed", held_back, "{error}");
                }
                ModelState::Failed { reason: error.reason().to_owned() }
            }
        };
        if state != ModelState::Ready {
            self.published.model = None;
        }
        self.change(|status| {
            if state == ModelState::Ready {
                status.phase = Phase::Running;
            }
            status.model = state;
        });
    }
}

impl Handler<CanaryChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, changed: CanaryChanged, _: &mut Self::Context) {
        if !self.is_leaving() {
            self.change(|status| status.canary = changed.0);
        }
    }
}

#[cfg(feature = "test-hooks")]
impl Handler<super::PanicIn> for Supervisor {
    type Result = ();

    #[allow(clippy::panic)]
    fn handle(&mut self, panic: super::PanicIn, _: &mut Self::Context) {
        match panic.0 {
            Room::Supervisor => panic!("a test asked the supervisor to panic"),
            Room::Web => self.web.iter().for_each(|web| web.do_send(crate::actors::web::PanicNow)),
            Room::Model => self.model.iter().for_each(|model| model.do_send(crate::actors::model::PanicNow)),
            Room::Monitor => self.monitor.iter().for_each(|room| room.do_send(crate::actors::monitor::PanicNow)),
            Room::Alert => self.alert.iter().for_each(|room| room.do_send(crate::actors::alert::PanicNow)),
            Room::Engine => drop(self.threads.send(crate::engine::threads::Work::Panic)),
        }
    }
}
