//! What outlives the model room: the model that the engine holds, and who is to hear of a load.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Recipient;

use super::variant::Form;
use super::{LoadFinished, ServedModel};
use crate::core::standing::Standing;
use crate::engine::Session;
use crate::engine::threads::{Installed, SessionPool};

/// The shelf, shared by every model room there will be and the engine threads.
#[derive(Default)]
pub struct Shelf(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    served: Option<Arc<ServedModel>>,
    /// An operator took the model out, or will have.
    unwanted: bool,
    loads: usize,
    /// How often an operator took the model out: what was being loaded before is void.
    taken_out: u64,
    /// What is known of the quantised form.
    standing: Standing,
    form: Form,
    room: Option<Recipient<LoadFinished>>,
}

/// What a room built anew finds.
pub(super) enum Found {
    /// The engine holds this model.
    Served(Arc<ServedModel>),
    /// It was taken out on request.
    Unwanted,
    /// A load is under way, and its end will be told.
    Loading,
    /// Nothing.
    Nothing,
}

impl Shelf {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model that the engine holds.
    pub fn served(&self) -> Option<Arc<ServedModel>> {
        self.inner().served.clone()
    }

    /// What is known of the quantised form.
    pub(super) fn standing(&self) -> Standing {
        self.inner().standing.clone()
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.inner().standing = standing;
    }

    /// Looks at what is known of the form that serves, or changes it.
    pub(super) fn form<T>(&self, look: impl FnOnce(&mut Form) -> T) -> T {
        look(&mut self.inner().form)
    }

    /// Whether a swap may still be taken back.
    pub(super) fn is_watched(&self) -> bool {
        self.form(|form| form.watch.is_some())
    }

    /// Whether an operator wants no model.
    pub(super) fn is_unwanted(&self) -> bool {
        self.inner().unwanted
    }

    pub(super) fn set_unwanted(&self, unwanted: bool) {
        let mut inner = self.inner();
        inner.unwanted = unwanted;
        inner.taken_out += u64::from(unwanted);
    }

    /// Ends of loads are told to `room` from now on.
    pub(super) fn move_in(&self, room: Recipient<LoadFinished>) -> Found {
        let mut inner = self.inner();
        inner.room = Some(room);
        match &inner.served {
            Some(served) => Found::Served(Arc::clone(served)),
            None if inner.unwanted => Found::Unwanted,
            None if inner.loads > 0 => Found::Loading,
            None => Found::Nothing,
        }
    }

    /// Counts a load, until its ticket is handed in or lost with its thread.
    pub(super) fn begin_load(self: &Arc<Shelf>) -> Ticket {
        let mut inner = self.inner();
        inner.loads += 1;
        Ticket { shelf: Arc::clone(self), taken_out: inner.taken_out }
    }

    /// Puts a model and its sessions in the place of the ones before, both at once; none takes them out. The ones before are
    /// for the caller to drop.
    pub(super) fn exchange(&self, pool: &SessionPool, with: Option<(ServedModel, Vec<Box<dyn Session>>)>) -> Installed {
        let mut inner = self.inner();
        let (served, sessions) = with.map_or((None, Vec::new()), |(served, sessions)| (Some(served), sessions));
        let installed = pool.install(sessions);
        let generation = installed.generation;
        inner.served = served.map(|served| Arc::new(ServedModel { generation, ..served }));
        installed
    }
}

/// A load that is under way.
pub(super) struct Ticket {
    shelf: Arc<Shelf>,
    taken_out: u64,
}

impl Ticket {
    /// Whether the model was taken out since the load began: then nobody wants what comes of it.
    pub(super) fn is_void(&self) -> bool {
        self.shelf.inner().taken_out != self.taken_out
    }

    /// The load has ended: tells it to the room that is there now. One that comes later finds the shelf as it is.
    pub(super) fn hand_in(self, finished: LoadFinished) {
        let shelf = Arc::clone(&self.shelf);
        let room = {
            // Not counted any more before it is told: a room that misses the news must not wait for it.
            drop(self);
            shelf.inner().room.clone()
        };
        if let Some(room) = room {
            room.do_send(finished);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.shelf.inner();
        inner.loads = inner.loads.saturating_sub(1);
    }
}
