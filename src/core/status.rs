//! The snapshot of the daemon's state, and the rule that says whether it is ready.

use std::fmt;

/// A room that the supervisor restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Room {
    /// The root of the house; its death ends the daemon.
    Supervisor,
    /// The door to the session.
    Model,
    /// The thread that owns the session.
    Engine,
    /// The HTTP server.
    Web,
    /// The timer that samples the box.
    Monitor,
    /// What counts breaches.
    Alert,
}

impl Room {
    /// The rooms that are restarted.
    pub const RESTARTED: [Room; 5] = [Room::Model, Room::Engine, Room::Web, Room::Monitor, Room::Alert];

    /// The word for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Room::Supervisor => "supervisor",
            Room::Model => "model",
            Room::Engine => "engine",
            Room::Web => "web",
            Room::Monitor => "monitor",
            Room::Alert => "alert",
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Where the daemon is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// From the start to the first model that is ready.
    #[default]
    Starting,
    /// A model has been ready once.
    Running,
    /// A stop has been asked for.
    Stopping,
}

/// What is known of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelState {
    /// Being loaded or warmed up.
    #[default]
    Loading,
    /// Loaded and warm.
    Ready,
    /// Taken out by an operator.
    Unloaded,
    /// Could not be loaded.
    Failed {
        /// Why, for the operator.
        reason: String,
    },
}

/// What the canary says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CanaryState {
    /// Nothing bad is known.
    #[default]
    Well,
    /// The model does not answer as it should.
    Failing {
        /// How, for the operator.
        reason: String,
    },
}

/// The state of the daemon, as a value that is replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSnapshot {
    /// Where the daemon is in its life.
    pub phase: Phase,
    /// The model.
    pub model: ModelState,
    /// The canary's word.
    pub canary: CanaryState,
    /// Rooms that are down now.
    pub down: Vec<Room>,
}

impl StatusSnapshot {
    /// Whether requests can be served, and if not, why.
    ///
    /// # Errors
    /// The reason, one line for the operator.
    pub fn readiness(&self) -> Result<(), String> {
        if self.phase == Phase::Stopping {
            return Err("the daemon is stopping".to_owned());
        }
        match &self.model {
            ModelState::Ready => {}
            ModelState::Loading => return Err("the model is being loaded".to_owned()),
            ModelState::Unloaded => return Err("the model is unloaded".to_owned()),
            ModelState::Failed { reason } => return Err(format!("the model could not be loaded: {reason}")),
        }
        if let Some(room) = self.down.first() {
            return Err(format!("the {room} room is being restarted"));
        }
        match &self.canary {
            CanaryState::Well => Ok(()),
            CanaryState::Failing { reason } => Err(format!("canary: {reason}")),
        }
    }
}

impl StatusSnapshot {
    /// The kind of what stands in the way of readiness, however its reason is worded.
    pub fn trouble(&self) -> Option<&'static str> {
        match (&self.model, self.down.first(), &self.canary) {
            _ if self.phase == Phase::Stopping => Some("stopping"),
            (ModelState::Loading, ..) => Some("loading"),
            (ModelState::Unloaded, ..) => Some("unloaded"),
            (ModelState::Failed { .. }, ..) => Some("failed"),
            (ModelState::Ready, Some(room), _) => Some(room.name()),
            (ModelState::Ready, None, CanaryState::Failing { .. }) => Some("canary"),
            (ModelState::Ready, None, CanaryState::Well) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_daemon_with_a_well_model_is_ready() {
        let ready = StatusSnapshot { phase: Phase::Running, model: ModelState::Ready, ..StatusSnapshot::default() };
        assert_eq!(ready.readiness(), Ok(()));
        assert_eq!(ready.trouble(), None);
        let cases: [(StatusSnapshot, &str); 6] = [
            (StatusSnapshot::default(), "being loaded"),
            (StatusSnapshot { phase: Phase::Stopping, ..ready.clone() }, "stopping"),
            (StatusSnapshot { model: ModelState::Unloaded, ..ready.clone() }, "unloaded"),
            (StatusSnapshot { model: ModelState::Failed { reason: "cut".into() }, ..ready.clone() }, "cut"),
            (StatusSnapshot { down: vec![Room::Engine], ..ready.clone() }, "engine"),
            (StatusSnapshot { canary: CanaryState::Failing { reason: "NaN".into() }, ..ready }, "NaN"),
        ];
        for (snapshot, word) in cases {
            let reason = snapshot.readiness().unwrap_err();
            assert!(reason.contains(word), "{reason}");
            assert!(snapshot.trouble().is_some());
        }
    }
}
