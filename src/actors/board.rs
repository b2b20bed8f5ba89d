//! What handlers read without asking an actor: the last snapshot, the door to the model, the limits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix::Recipient;
use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;

use super::alert::AlertsView;
use super::model::{Infer, Load, Requalify, ServedModel, Unload};
use super::monitor::Taken;
use super::supervisor::{Qualification, Reload};
use crate::config::{Access, Config};
use crate::core::admission::Gate;
use crate::core::recorder::{Entry, Recorder};
use crate::core::status::StatusSnapshot;
use crate::core::throttle::Throttle;
use crate::metrics::Metrics;

/// The state of the daemon as it was last handed to the web room.
#[derive(Clone, Default)]
pub struct Published {
    /// Phase, model, canary, rooms.
    pub status: StatusSnapshot,
    /// The model that answers now.
    pub model: Option<Arc<ServedModel>>,
    /// What fires, and what has changed.
    pub alerts: Arc<AlertsView>,
    /// What is known of the model's quantised form.
    pub qualification: Arc<Qualification>,
}

/// Where messages to the model room go.
#[derive(Clone)]
pub struct Door {
    /// Jobs.
    pub infer: Recipient<Infer>,
    /// Loads on request.
    pub load: Recipient<Load>,
    /// Unloads on request.
    pub unload: Recipient<Unload>,
    /// Wishes to have the quantised form measured anew.
    pub qualify: Recipient<Requalify>,
}

/// A warning that many handlers may want to write at once.
pub struct Repeated {
    throttle: Mutex<Throttle>,
    period: Duration,
}

impl Repeated {
    /// Counts an occurrence: `Some(n)` when it is to be written, n others having been held back.
    pub fn occurred(&self) -> Option<u64> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).occurred(Instant::now(), self.period)
    }
}

/// What the flight recorder holds, for whoever asks why the last requests took so long.
#[derive(Serialize)]
pub struct Recording {
    /// The last requests, oldest first.
    pub requests: Vec<Entry>,
    /// The box at each tick, oldest first.
    pub samples: Vec<Arc<Taken>>,
}

/// The board in the hall: written by the web room, read by every handler.
pub struct Board {
    published: ArcSwap<Published>,
    door: ArcSwapOption<Door>,
    history: Mutex<VecDeque<Arc<Taken>>>,
    recorder: Mutex<Recorder>,
    config: ArcSwap<Config>,
    reload_door: OnceLock<Recipient<Reload>>,
    access: ArcSwap<Access>,
    shedding: ArcSwapOption<String>,
    /// Places in the queue.
    pub queue: Arc<Gate>,
    /// Bytes of request bodies.
    pub body_memory: Arc<Gate>,
    /// Bytes of pictures that are being decoded.
    pub image_memory: Arc<Gate>,
    /// Where the daemon listens.
    pub address: SocketAddr,
    /// The name that the model is served under.
    pub model_name: String,
    /// Version of ONNX Runtime.
    pub runtime_version: String,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The warning about refused requests.
    pub refusals: Repeated,
    /// When the daemon started.
    pub started: Instant,
    /// The same on the wall.
    pub started_at: SystemTime,
}

impl Board {
    /// A board on which nothing is known yet.
    pub fn new(
        config: Arc<Config>,
        address: SocketAddr,
        model_name: String,
        runtime_version: String,
        metrics: Arc<Metrics>,
    ) -> Arc<Board> {
        Arc::new(Board {
            published: ArcSwap::from_pointee(Published::default()),
            door: ArcSwapOption::empty(),
            history: Mutex::default(),
            recorder: Mutex::new(Recorder::new(config.recorder.entries)),
            reload_door: OnceLock::new(),
            access: ArcSwap::from_pointee(Access::default()),
            shedding: ArcSwapOption::empty(),
            queue: Gate::new(config.model.queue_limit),
            body_memory: Gate::new(config.server.max_body_memory_bytes),
            image_memory: Gate::new(config.server.max_image_memory_bytes),
            refusals: Repeated {
                throttle: Mutex::default(),
                period: Duration::from_secs_f64(config.log.repeat_seconds),
            },
            address,
            model_name,
            runtime_version,
            config: ArcSwap::new(config),
            metrics,
            started: Instant::now(),
            started_at: SystemTime::now(),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Puts another configuration in force, and its limits with it.
    pub fn set_config(&self, config: Arc<Config>) {
        self.queue.set_limit(config.model.queue_limit);
        self.body_memory.set_limit(config.server.max_body_memory_bytes);
        self.image_memory.set_limit(config.server.max_image_memory_bytes);
        self.recorder().set_limit(config.recorder.entries);
        self.config.store(config);
    }

    /// Who may make admin calls.
    pub fn access(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Says who may make admin calls from now on.
    pub fn set_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// Where reloads are asked for, once the supervisor is there.
    pub fn reload_door(&self) -> Option<&Recipient<Reload>> {
        self.reload_door.get()
    }

    /// Names the supervisor's door, once.
    pub fn set_reload_door(&self, door: Recipient<Reload>) {
        let _ = self.reload_door.set(door);
    }

    /// Why new requests are refused, while an alert has it so.
    pub fn shedding(&self) -> Option<Arc<String>> {
        self.shedding.load_full()
    }

    /// Has new requests refused, or taken again.
    pub fn shed(&self, why: Option<String>) {
        self.shedding.store(why.map(Arc::new));
    }

    /// The last requests with the box's samples around them.
    pub fn recording(&self) -> Recording {
        let requests = self.recorder().entries();
        Recording { requests, samples: self.history(0) }
    }

    /// The last snapshot.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Puts another snapshot up.
    pub fn publish(&self, published: Arc<Published>) {
        self.metrics.session_ready.set(i64::from(published.status.readiness().is_ok()));
        self.published.store(published);
    }

    /// Keeps a sample, and forgets those that are too old.
    pub fn keep(&self, taken: Arc<Taken>) {
        let kept = Duration::from_secs_f64(self.config().monitor.history_seconds);
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        while history.front().is_some_and(|first| taken.at.saturating_duration_since(first.at) > kept) {
            history.pop_front();
        }
        history.push_back(taken);
    }

    /// The last sample.
    pub fn latest(&self) -> Option<Arc<Taken>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
    }

    /// The samples after number `seen`, oldest first.
    pub fn history(&self, seen: u64) -> Vec<Arc<Taken>> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().filter(|taken| taken.number > seen).cloned().collect()
    }

    /// The last requests; to be held for as long as it takes to add or copy.
    pub fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model room's doors, while it is there.
    pub fn door(&self) -> Option<Arc<Door>> {
        self.door.load_full()
    }

    /// Names the doors of the model room, or that there are none.
    pub fn set_door(&self, door: Option<Door>) {
        self.door.store(door.map(Arc::new));
    }
}
