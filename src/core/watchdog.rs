//! Whether the service manager's watchdog is fed: only while the rooms answer.

use super::status::Room;

/// The rooms that are asked; their answers are what feeds the watchdog.
pub const ASKED: [Room; 2] = [Room::Model, Room::Web];

/// What is known of one round of questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Rooms that have answered, or that are gone: those come back by the supervisor, or the daemon leaves.
    pub settled: Vec<Room>,
    /// Whether the canary gets no answer from the engine.
    pub engine_silent: bool,
}

impl Round {
    /// Notes that this room owes no answer any more.
    pub fn settle(&mut self, room: Room) {
        if !self.settled.contains(&room) {
            self.settled.push(room);
        }
    }
}

/// Whether the watchdog may be fed after this round.
///
/// # Errors
/// Why not, or not yet: one line for the operator.
pub fn may_feed(round: &Round) -> Result<(), String> {
    if let Some(room) = ASKED.iter().find(|room| !round.settled.contains(room)) {
        return Err(format!("the {room} room does not answer"));
    }
    if round.engine_silent {
        return Err("the engine gives the canary no answer".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_only_when_every_room_has_answered_and_the_engine_is_not_stuck() {
        let mut round = Round::default();
        assert!(may_feed(&round).unwrap_err().contains("model"));
        round.settle(Room::Model);
        round.settle(Room::Model);
        assert!(may_feed(&round).unwrap_err().contains("web"));
        round.settle(Room::Web);
        assert_eq!(may_feed(&round), Ok(()));
        round.engine_silent = true;
        assert!(may_feed(&round).unwrap_err().contains("canary"));
    }
}
