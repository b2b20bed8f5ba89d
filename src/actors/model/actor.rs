//! The model room: the door to the sessions. It admits or refuses at once, and never computes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::canary::Rounds;
use super::choose::{self, Chosen};
use super::load::SessionLoader;
use super::loading::{Purpose, bury};
use super::measure::Bench;
use super::shelf::{Found, Shelf};
use super::{Chose, Infer, Load, LoadFinished, Ping, Pong, ReviveEngine, ServedModel, StopModel, Told, Unload};
use crate::actors::board::Board;
use crate::actors::obituary::Obituary;
use crate::actors::supervisor::{CanaryChanged, ModelChanged};
use crate::config::Config;
use crate::core::standing::Prefer;
use crate::engine::threads::{Threads, Work};
use crate::metrics::Metrics;

/// The wait before a load that failed is tried again, where nothing serves meanwhile.
const RETRY: Duration = Duration::from_secs(10);

/// How many loads on request may wait for the one before.
const MOST_LOADS: usize = 8;

/// Told how a load on request ended.
pub(super) type Waiter = oneshot::Sender<Told>;

/// The model room.
pub struct Model {
    pub(super) config: Arc<Config>,
    pub(super) threads: Arc<Threads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) supervisor: Recipient<CanaryChanged>,
    pub(super) rounds: Rounds,
    /// The number of the measuring that is awaited: one begun later makes it void.
    pub(super) measuring: u64,
    /// Whether the next look at a swap is set.
    pub(super) is_looking: bool,
    pub(super) board: Arc<Board>,
    pub(super) bench: Arc<Bench>,
    pub(super) events: Recipient<ModelChanged>,
    pub(super) loader: SessionLoader,
    pub(super) name: String,
    /// Loads on request; the first is under way.
    loads: VecDeque<Option<Waiter>>,
    /// The number of the choice that is awaited: an unload makes the one before void.
    choice: u64,
    pub(super) stopping: bool,
    /// Whether the form that serves stays, whatever is found out: the daemon is about to leave.
    pub(super) swaps_over: bool,
    _obituary: Obituary,
}

/// What a model room is built from.
#[derive(Clone)]
pub struct ModelParts {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The engine.
    pub threads: Arc<Threads>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// What outlives the room.
    pub shelf: Arc<Shelf>,
    /// Makes sessions.
    pub loader: SessionLoader,
    /// The name to serve under.
    pub name: String,
    /// The requests that went before.
    pub board: Arc<Board>,
    /// What measures the quantised form.
    pub bench: Arc<Bench>,
}

impl Model {
    /// A room that loads its model when it starts, unless the engine holds one.
    pub fn new(
        parts: ModelParts,
        events: Recipient<ModelChanged>,
        canary: Recipient<CanaryChanged>,
        obituary: Obituary,
    ) -> Model {
        let ModelParts { config, threads, metrics, shelf, loader, name, board, bench } = parts;
        Model {
            config,
            threads,
            metrics,
            shelf,
            supervisor: canary,
            rounds: Rounds::default(),
            measuring: 0,
            is_looking: false,
            board,
            bench,
            events,
            loader,
            name,
            loads: VecDeque::new(),
            choice: 0,
            stopping: false,
            swaps_over: false,
            _obituary: obituary,
        }
    }

    /// Begins a load: beside the engine where a model serves meanwhile, else on its queue; whether that could be.
    pub(super) fn load(&mut self, chosen: Option<Chosen>, reply: Option<Waiter>, context: &mut Context<Self>) -> bool {
        if self.stopping {
            return false;
        }
        self.shelf.set_unwanted(false);
        if self.shelf.served().is_none() {
            self.events.do_send(ModelChanged::Loading);
        }
        if self.shelf.served().is_some() {
            return self.load_beside(chosen, reply);
        }
        // The waiter of a load that is sent back sees its reply dropped.
        let is_sent = self.threads.send(self.load_work(Purpose::Replace, chosen, reply)).is_ok();
        if !is_sent {
            tracing::warn!(
                event = "load_put_off",
                "the engine takes no load now: tried again in {} s, where no model is loaded",
                RETRY.as_secs()
            );
            self.retry(context);
        }
        is_sent
    }

    /// Has the model loaded once the loads before have ended. One too many is answered by its reply being dropped.
    pub(super) fn load_in_turn(&mut self, reply: Waiter, context: &mut Context<Self>) {
        if self.loads.len() < MOST_LOADS {
            self.loads.push_back(Some(reply));
            if self.loads.len() == 1 {
                self.next_load(context);
            }
        }
    }

    /// Begins the first load that waits. While a model serves, the file is looked at and tried beside the engine, so
    /// that one which takes long to refuse holds up no request.
    fn next_load(&mut self, context: &mut Context<Self>) {
        // Whoever has left meanwhile wants no load any more.
        while self.loads.front().is_some_and(|waiter| waiter.as_ref().is_none_or(Waiter::is_closed)) {
            self.loads.pop_front();
        }
        let Some(waiter) = self.loads.front_mut() else { return };
        if self.shelf.served().is_none() {
            let reply = waiter.take();
            self.loads.pop_front();
            self.load(None, reply, context);
            return self.next_load(context);
        }
        let (config, loader, address) = (Arc::clone(&self.config), Arc::clone(&self.loader), context.address());
        self.choice += 1;
        let choice = self.choice;
        let chooser = std::thread::Builder::new().name("trial".to_owned());
        let started =
            chooser.spawn(move || address.do_send(Chose { choice, result: choose::choose(&config.model, &loader) }));
        if let Err(error) = started {
            tracing::error!(event = "thread_refused", "the system gives no thread for a load: {error}");
            self.loads.pop_front();
            self.next_load(context);
        }
    }

    fn retry(&mut self, context: &mut Context<Self>) {
        context.run_later(RETRY, |model, context| {
            if model.shelf.served().is_none() && !model.shelf.is_unwanted() {
                model.load(None, None, context);
            }
        });
    }

    /// What the shelf holds, told to the supervisor, and then to whoever asked for it.
    fn report(&self, event: ModelChanged, reply: Option<Waiter>, told: Told, context: &mut Context<Self>) {
        let published = self.events.send(event).into_actor(self).map(move |_, _, _| {
            if let Some(reply) = reply {
                // Whoever asked may have left meanwhile.
                let _ = reply.send(told);
            }
        });
        context.spawn(published);
    }
}

impl Actor for Model {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        match self.shelf.move_in(context.address().recipient()) {
            // The canary's state is not known to this room: its first word follows soon.
            Found::Served(served) => {
                self.events.do_send(ModelChanged::Ready(Arc::clone(&served)));
                self.took_over(&served, self.shelf.standing(), context);
                // A change of form that the room before was about to make is made all the same.
                self.reconsider(context);
            }
            Found::Unwanted => self.events.do_send(ModelChanged::Unloaded),
            Found::Loading => self.events.do_send(ModelChanged::Loading),
            Found::Nothing => {
                self.load(None, None, context);
            }
        }
        self.start_canary(context);
    }
}

impl Handler<Infer> for Model {
    type Result = ();

    fn handle(&mut self, infer: Infer, _: &mut Self::Context) {
        // A job that is sent back is dropped with its reply, which its waiter answers with 503.
        if let Err(refused) = self.threads.send(Work::Run(Box::new(infer.0))) {
            drop(refused);
        }
    }
}

impl Handler<Load> for Model {
    type Result = ();

    fn handle(&mut self, load: Load, context: &mut Self::Context) {
        self.load_in_turn(load.reply, context);
    }
}

impl Handler<Chose> for Model {
    type Result = ();

    fn handle(&mut self, chose: Chose, context: &mut Self::Context) {
        if chose.choice != self.choice {
            return;
        }
        let reply = self.loads.pop_front().flatten();
        match chose.result {
            Ok(chosen) => {
                self.load(Some(chosen), reply, context);
            }
            Err(error) => self.finished(LoadFinished { result: Err(error), reply }, context),
        }
        self.next_load(context);
    }
}

impl Handler<Unload> for Model {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: Unload, _: &mut Self::Context) -> Self::Result {
        // Loads that were asked for before are void; whoever waits sees the reply dropped.
        self.loads.clear();
        self.choice += 1;
        let (shelf, ticket) = (Arc::clone(&self.shelf), self.shelf.begin_load());
        let (reply, told) = oneshot::channel();
        let limit = Duration::from_secs_f64(self.config.model.load_timeout_seconds);
        // In its turn on the queue: what was admitted before is answered.
        let unload = Work::Load {
            limit,
            load: Box::new(move |pool, _| {
                bury(shelf.exchange(pool, None));
                ticket.hand_in(LoadFinished { result: Ok(()), reply: Some(reply) });
            }),
        };
        let is_sent = self.threads.send(unload).is_ok();
        if is_sent {
            self.shelf.set_unwanted(true);
        }
        Box::pin(async move { is_sent && matches!(told.await, Ok(Ok(()))) })
    }
}

impl Handler<ReviveEngine> for Model {
    type Result = bool;

    fn handle(&mut self, revive: ReviveEngine, _: &mut Self::Context) -> bool {
        // The session died with its thread: the new one loads before it takes anything from the queue.
        let first = (!self.shelf.is_unwanted()).then(|| self.load_work(Purpose::Revive, None, None));
        match self.threads.spawn(revive.thread, first) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(event = "thread_refused", "the system gives no engine thread: {error}");
                false
            }
        }
    }
}

impl Handler<LoadFinished> for Model {
    type Result = ();

    fn handle(&mut self, finished: LoadFinished, context: &mut Self::Context) {
        self.finished(finished, context);
    }
}

impl Handler<Ping> for Model {
    type Result = Pong;

    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Pong {
        Pong { engine_silent: self.rounds.is_silent() }
    }
}

impl Model {
    fn finished(&mut self, finished: LoadFinished, context: &mut Context<Self>) {
        let LoadFinished { result, reply } = finished;
        let told = result.as_ref().map(|_| ()).map_err(ToString::to_string);
        // The shelf, and not the message, says how things stand: another load may have ended meanwhile.
        let event = match (result, self.shelf.served()) {
            (Ok(()), Some(served)) => {
                say_ready(&served, self.config.model.prefer);
                self.restart_rounds();
                self.took_over(&served, served.standing.clone(), context);
                ModelChanged::Ready(served)
            }
            (Ok(()), None) => {
                tracing::info!(event = "model_unloaded", "the model is taken out on request");
                self.nothing_serves();
                ModelChanged::Unloaded
            }
            (Err(error), Some(served)) => {
                if !self.stopping {
                    tracing::warn!(event = "load_failed", "the model before serves on: {error}");
                }
                ModelChanged::Ready(served)
            }
            (Err(_), None) if self.shelf.is_unwanted() => ModelChanged::Unloaded,
            (Err(error), None) => {
                self.retry(context);
                ModelChanged::Failed(error)
            }
        };
        self.report(event, reply, told, context);
    }
}

fn say_ready(served: &ServedModel, prefer: Prefer) {
    tracing::info!(
        event = "model_ready",
        model = served.name,
        version = served.version,
        path = %served.path.display(),
        sha256 = served.sha256,
        quantized = served.quantized,
        why = served.standing.why(prefer, served.quantized),
        load_ms = served.load_duration.as_millis(),
        "model '{}' from {} is loaded and warm",
        served.name,
        served.path.display()
    );
}

impl Handler<StopModel> for Model {
    type Result = ();

    fn handle(&mut self, _: StopModel, _: &mut Self::Context) {
        self.stopping = true;
        self.loader.leave();
        self.bench.end();
        self.end_rounds();
    }
}

#[cfg(feature = "test-hooks")]
impl Handler<super::PanicNow> for Model {
    type Result = ();

    #[allow(clippy::panic)]
    fn handle(&mut self, _: super::PanicNow, _: &mut Self::Context) {
        panic!("a test asked the model room to panic")
    }
}

/// When a request that asks for `timeout_us` (or for nothing) must be answered.
pub fn deadline(now: Instant, timeout_us: Option<u64>, config: &Config) -> Instant {
    let limit = Duration::from_millis(config.model.max_timeout_ms);
    let wanted = match timeout_us {
        // 0 is the protocol's word for "none": then the default holds.
        None | Some(0) => Duration::from_millis(config.model.default_timeout_ms),
        Some(timeout) => Duration::from_micros(timeout),
    };
    now + wanted.min(limit)
}
