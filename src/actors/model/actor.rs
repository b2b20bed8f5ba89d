//! The model room: the door to the sessions. It admits or refuses at once, and never computes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::canary::Rounds;
use super::load::{self, Chosen, SessionLoader};
use super::{Chose, Infer, Load, LoadFinished, ReviveEngine, ServedModel, StopModel, Unload};
use crate::actors::obituary::Obituary;
use crate::actors::supervisor::{CanaryChanged, ModelChanged};
use crate::config::Config;
use crate::engine::threads::{Threads, Work};
use crate::metrics::{Metrics, seconds};

/// The wait before a load that failed is tried again, where nothing serves meanwhile.
const RETRY: Duration = Duration::from_secs(10);

/// How many loads on request may wait for the one before.
const MOST_LOADS: usize = 8;

/// Told how a load on request ended.
type Waiter = oneshot::Sender<Result<(), String>>;

/// What outlives the room: the model that the engine holds, so that a room built anew finds it.
#[derive(Default)]
pub struct Shelf(Mutex<Option<Arc<ServedModel>>>);

impl Shelf {
    /// The model that the engine holds.
    pub fn served(&self) -> Option<Arc<ServedModel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, served: Option<Arc<ServedModel>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = served;
    }
}

/// The model room.
pub struct Model {
    pub(super) config: Arc<Config>,
    pub(super) threads: Arc<Threads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) supervisor: Recipient<CanaryChanged>,
    pub(super) rounds: Rounds,
    events: Recipient<ModelChanged>,
    loader: SessionLoader,
    name: String,
    /// Loads on request; the first is under way.
    loads: VecDeque<Option<Waiter>>,
    stopping: bool,
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
}

impl Model {
    /// A room that loads its model when it starts, unless the engine holds one.
    pub fn new(
        parts: ModelParts,
        events: Recipient<ModelChanged>,
        canary: Recipient<CanaryChanged>,
        obituary: Obituary,
    ) -> Model {
        let ModelParts { config, threads, metrics, shelf, loader, name } = parts;
        Model {
            config,
            threads,
            metrics,
            shelf,
            supervisor: canary,
            rounds: Rounds::default(),
            events,
            loader,
            name,
            loads: VecDeque::new(),
            stopping: false,
            _obituary: obituary,
        }
    }

    /// A load as work for an engine thread; what came of it comes back as a message.
    fn load_work(&self, chosen: Option<Chosen>, reply: Option<Waiter>, context: &Context<Self>) -> Work {
        let (config, name, loader) = (Arc::clone(&self.config), self.name.clone(), Arc::clone(&self.loader));
        let (shelf, metrics, address) = (Arc::clone(&self.shelf), Arc::clone(&self.metrics), context.address());
        Work::Load(Box::new(move |pool| {
            let result = match chosen {
                Some(chosen) => load::load_chosen(&config.model, &name, chosen, &loader),
                None => load::load(&config.model, &name, &loader),
            };
            let result = result.map(|loaded| {
                let served = Arc::new(loaded.served);
                metrics.model_load_duration.observe(seconds(served.load_duration));
                pool.install(loaded.sessions);
                shelf.put(Some(Arc::clone(&served)));
                served
            });
            address.do_send(LoadFinished { result, reply });
        }))
    }

    fn load(&mut self, chosen: Option<Chosen>, reply: Option<Waiter>, context: &mut Context<Self>) {
        if self.shelf.served().is_none() {
            self.events.do_send(ModelChanged::Loading);
        }
        let work = self.load_work(chosen, reply, context);
        if self.threads.send(work).is_err() && !self.stopping {
            // The waiter sees its reply dropped; where nobody waits, the load is tried again.
            tracing::warn!(
                event = "load_put_off",
                "the engine takes no load now: tried again in {} s",
                RETRY.as_secs()
            );
            self.retry(context);
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
        let chooser = std::thread::Builder::new().name("trial".to_owned());
        let started = chooser.spawn(move || address.do_send(Chose(load::choose(&config.model, &loader))));
        if let Err(error) = started {
            tracing::error!(event = "thread_refused", "the system gives no thread for a load: {error}");
            self.loads.pop_front();
            self.next_load(context);
        }
    }

    fn retry(&mut self, context: &mut Context<Self>) {
        context.run_later(RETRY, |model, context| {
            if model.shelf.served().is_none() && !model.stopping {
                model.load(None, None, context);
            }
        });
    }
}

impl Actor for Model {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        match self.shelf.served() {
            Some(served) => self.events.do_send(ModelChanged::Ready(served)),
            None => self.load(None, None, context),
        }
        self.restart_rounds();
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
        // One too many is answered by its reply being dropped.
        if self.loads.len() < MOST_LOADS {
            self.loads.push_back(Some(load.reply));
            if self.loads.len() == 1 {
                self.next_load(context);
            }
        }
    }
}

impl Handler<Chose> for Model {
    type Result = ();

    fn handle(&mut self, chose: Chose, context: &mut Self::Context) {
        let reply = self.loads.pop_front().flatten();
        match chose.0 {
            Ok(chosen) => self.load(Some(chosen), reply, context),
            Err(error) => self.finished(LoadFinished { result: Err(error), reply }, context),
        }
        self.next_load(context);
    }
}

impl Handler<Unload> for Model {
    type Result = ();

    fn handle(&mut self, _: Unload, _: &mut Self::Context) {
        let shelf = Arc::clone(&self.shelf);
        let taken = Work::Load(Box::new(move |pool| {
            pool.install(Vec::new());
            shelf.put(None);
        }));
        if self.threads.send(taken).is_ok() {
            tracing::info!(event = "model_unloaded", "the model is taken out on request");
            self.events.do_send(ModelChanged::Unloaded);
        }
    }
}

impl Handler<ReviveEngine> for Model {
    type Result = ();

    fn handle(&mut self, revive: ReviveEngine, context: &mut Self::Context) {
        // The session died with its thread: the new one loads before it takes anything from the queue.
        let work = self.load_work(None, None, context);
        if let Err(error) = self.threads.spawn(revive.thread, Some(work)) {
            tracing::error!(event = "thread_refused", "the system gives no engine thread: {error}");
            context.notify_later(revive, RETRY);
        }
    }
}

impl Handler<LoadFinished> for Model {
    type Result = ();

    fn handle(&mut self, finished: LoadFinished, context: &mut Self::Context) {
        self.finished(finished, context);
    }
}

impl Model {
    fn finished(&mut self, finished: LoadFinished, context: &mut Context<Self>) {
        let told = match &finished.result {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        match finished.result {
            Ok(served) => {
                tracing::info!(
                    event = "model_ready",
                    model = served.name,
                    version = served.version,
                    path = %served.path.display(),
                    sha256 = served.sha256,
                    quantized = served.quantized,
                    load_ms = served.load_duration.as_millis(),
                    "model '{}' from {} is loaded and warm",
                    served.name,
                    served.path.display()
                );
                self.restart_rounds();
                self.events.do_send(ModelChanged::Ready(served));
            }
            Err(error) => match self.shelf.served() {
                Some(served) if finished.reply.is_some() => {
                    tracing::warn!(event = "load_failed", "the model before serves on: {error}");
                    self.events.do_send(ModelChanged::Ready(served));
                }
                _ => {
                    self.shelf.put(None);
                    self.events.do_send(ModelChanged::Failed(error));
                    self.retry(context);
                }
            },
        }
        if let Some(reply) = finished.reply {
            // Whoever asked may have left meanwhile.
            let _ = reply.send(told);
        }
    }
}

impl Handler<StopModel> for Model {
    type Result = ();

    fn handle(&mut self, _: StopModel, _: &mut Self::Context) {
        self.stopping = true;
        self.loader.leave();
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
