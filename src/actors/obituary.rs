//! How a room says that it is gone: a value it holds, whose `Drop` sends the news whatever ended the room.

use actix::Recipient;

use super::supervisor::ChildDown;
use crate::core::status::Room;

/// Held by a room for as long as it lives.
pub struct Obituary {
    room: Room,
    to: Recipient<ChildDown>,
}

impl Obituary {
    /// The obituary of `room`, addressed to its supervisor.
    pub fn new(room: Room, to: Recipient<ChildDown>) -> Obituary {
        Obituary { room, to }
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        self.to.do_send(ChildDown { room: self.room, thread: 0, crashed: std::thread::panicking() });
    }
}
