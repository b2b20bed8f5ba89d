//! The supervisor: builds the rooms from factories, restarts what dies, keeps the one snapshot, drives the stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::{CanaryChanged, ChildDown, ModelChanged, Stop};
use crate::actors::board::{Board, Door, Published};
use crate::actors::model::{Model, ReviveEngine, ServedModel, StopModel};
use crate::actors::obituary::Obituary;
use crate::actors::web::{Publish, SetDoor, StopServing, Web};
use crate::core::restart::{Restart, RestartHistory, RestartPolicy};
use crate::core::status::{ModelState, Phase, Room, StatusSnapshot};
use crate::engine::LoadError;
use crate::engine::threads::Threads;

/// Exit code after a stop that was asked for.
pub const EXIT_OK: i32 = 0;
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

/// How much longer an aborted run may take to notice.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// How each room is built, at the start and after its death.
pub struct Factories {
    /// Builds the model room, which reports to the recipients given.
    pub model: Box<dyn Fn(Obituary, Addr<Supervisor>) -> Addr<Model>>,
    /// Builds the web room.
    pub web: Box<dyn Fn(Obituary) -> Addr<Web>>,
}

/// The root of the house.
pub struct Supervisor {
    board: Arc<Board>,
    threads: Arc<Threads>,
    factories: Factories,
    policy: RestartPolicy,
    histories: HashMap<Room, RestartHistory>,
    published: Published,
    model: Option<Addr<Model>>,
    web: Option<Addr<Web>>,
}

impl Supervisor {
    /// A supervisor of nothing yet; its rooms are built when it starts.
    pub fn new(board: Arc<Board>, threads: Arc<Threads>, factories: Factories) -> Supervisor {
        let server = &board.config.server;
        let policy = RestartPolicy {
            budget: server.restart_budget,
            window: Duration::from_secs_f64(server.restart_window_seconds),
            backoff: Duration::from_millis(server.restart_backoff_ms),
            max_backoff: Duration::from_secs(30),
        };
        Supervisor {
            board,
            threads,
            factories,
            policy,
            histories: HashMap::new(),
            published: Published::default(),
            model: None,
            web: None,
        }
    }

    fn build(&mut self, room: Room, context: &mut Context<Self>) {
        let obituary = Obituary::new(room, context.address().recipient());
        match room {
            Room::Web => self.web = Some((self.factories.web)(obituary)),
            Room::Model => self.model = Some((self.factories.model)(obituary, context.address())),
            Room::Engine | Room::Supervisor => return,
        }
        self.set_down(room, false);
        self.announce();
    }

    /// Hands the snapshot and the door to the web room.
    fn announce(&self) {
        if let Some(web) = &self.web {
            let door = self.model.as_ref().map(|model| Door {
                infer: model.clone().recipient(),
                load: model.clone().recipient(),
                unload: model.clone().recipient(),
            });
            web.do_send(SetDoor(door));
            web.do_send(Publish(Arc::new(self.published.clone())));
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut StatusSnapshot)) {
        let before = self.published.status.readiness();
        change(&mut self.published.status);
        let after = self.published.status.readiness();
        if before != after {
            match &after {
                Ok(()) => tracing::info!(event = "ready", "ready"),
                Err(reason) => tracing::warn!(event = "not_ready", reason, "not ready: {reason}"),
            }
        }
        self.announce();
    }

    fn set_down(&mut self, room: Room, is_down: bool) {
        self.change(|status| {
            status.down.retain(|other| *other != room);
            if is_down {
                status.down.push(room);
            }
        });
    }

    fn is_leaving(&self) -> bool {
        self.published.status.phase == Phase::Stopping
    }

    fn revive_engine(&mut self, thread: usize, context: &mut Context<Self>) {
        match &self.model {
            Some(model) => model.do_send(ReviveEngine { thread }),
            // The model room is down too: the thread waits for it.
            None => {
                let again = self.policy.backoff.max(Duration::from_millis(1));
                context.run_later(again, move |supervisor, context| supervisor.revive_engine(thread, context));
            }
        }
    }

    fn leave(&mut self, code: i32) {
        self.published.status.phase = Phase::Stopping;
        self.announce();
        System::current().stop_with_code(code);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.build(Room::Web, context);
        self.build(Room::Model, context);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Nobody supervises the supervisor: its death is the daemon's, and the service manager's to answer.
        if std::thread::panicking() {
            tracing::error!(event = "supervisor_down", "the supervisor died: the daemon leaves");
            System::current().stop_with_code(EXIT_SOFTWARE);
        }
    }
}

impl Handler<ChildDown> for Supervisor {
    type Result = ();

    fn handle(&mut self, down: ChildDown, context: &mut Self::Context) {
        if self.is_leaving() {
            return;
        }
        let ChildDown { room, thread, crashed } = down;
        match room {
            Room::Model => self.model = None,
            Room::Web => self.web = None,
            Room::Engine | Room::Supervisor => {}
        }
        let verdict = self.histories.entry(room).or_default().died(Instant::now(), &self.policy);
        let Restart::After(wait) = verdict else {
            tracing::error!(event = "restart_budget_spent", %room, crashed, "{room} died too often: the daemon leaves");
            return self.leave(EXIT_SOFTWARE);
        };
        self.board.metrics.actor_restarts.with_label_values(&[room.name()]).inc();
        tracing::error!(event = "room_down", %room, crashed, wait_ms = wait.as_millis(), "{room} is down, back soon");
        self.set_down(room, true);
        context.run_later(wait, move |supervisor, context| match room {
            _ if supervisor.is_leaving() => {}
            Room::Engine => supervisor.revive_engine(thread, context),
            _ => supervisor.build(room, context),
        });
    }
}

impl Handler<ModelChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, changed: ModelChanged, _: &mut Self::Context) {
        if self.is_leaving() {
            return;
        }
        let state = match changed {
            ModelChanged::Loading => ModelState::Loading,
            ModelChanged::Unloaded => ModelState::Unloaded,
            ModelChanged::Ready(model) => {
                if self.published.status.phase == Phase::Starting {
                    greet(&self.board, &model);
                }
                self.published.model = Some(model);
                ModelState::Ready
            }
            ModelChanged::Failed(error) => {
                tracing::error!(event = "model_failed", "{error}");
                if self.published.status.phase == Phase::Starting {
                    return self.leave(exit_code_of(&error));
                }
                ModelState::Failed { reason: error.reason().to_owned() }
            }
        };
        if state != ModelState::Ready && state != ModelState::Loading {
            self.published.model = None;
        }
        self.change(|status| {
            if state == ModelState::Ready {
                status.phase = Phase::Running;
            }
            if state != ModelState::Loading {
                status.down.retain(|room| *room != Room::Engine);
            }
            status.model = state;
        });
    }
}

/// One line that shows a new operator an answer.
fn greet(board: &Board, model: &ServedModel) {
    let address = board.address;
    match &model.sample {
        Some(sample) if model.image.is_some() => {
            let sample = sample.display();
            tracing::info!(event = "try", "try: curl --data-binary @{sample} http://{address}/api/v1/frames");
        }
        _ => tracing::info!(event = "try", "try: curl http://{address}/v2/models/{}", model.name),
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

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, stop: Stop, context: &mut Self::Context) {
        if self.is_leaving() {
            return;
        }
        tracing::info!(event = "stopping", why = stop.why, "stopping: {}", stop.why);
        self.change(|status| status.phase = Phase::Stopping);
        let limit = Duration::from_secs_f64(self.board.config.server.shutdown_timeout_seconds);
        let (web, model, threads) = (self.web.clone(), self.model.clone(), Arc::clone(&self.threads));
        let leaving = async move {
            let deadline = Instant::now() + limit;
            if let Some(web) = web
                && actix_rt::time::timeout(limit, web.send(StopServing)).await.is_err()
            {
                tracing::warn!(
                    event = "stop_timeout",
                    "requests are still running at server.shutdown_timeout_seconds: ended"
                );
                threads.abort();
                let _ = actix_rt::time::timeout(ABORT_GRACE, web.send(StopServing)).await;
            }
            if let Some(model) = model {
                let _ = model.send(StopModel).await;
            }
            threads.close();
            let until = deadline.max(Instant::now() + ABORT_GRACE);
            let joined = actix_rt::task::spawn_blocking(move || threads.join(until)).await.unwrap_or(false);
            if joined {
                tracing::info!(event = "stopped", "stopped: every thread has ended");
            } else {
                tracing::warn!(event = "stopped", "stopped: an engine thread did not end in time and is left behind");
            }
            System::current().stop_with_code(EXIT_OK);
        };
        context.spawn(leaving.into_actor(self));
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
            Room::Engine => drop(self.threads.send(crate::engine::threads::Work::Panic)),
        }
    }
}
