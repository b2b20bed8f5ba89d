//! What a reload changes at once, and what waits for the next start.

use serde_json::Value;

use super::types::Config;

/// Keys, or sections, that take effect at once; all others need a restart.
const AT_ONCE: [&str; 14] = [
    "monitor",
    "alerts",
    "recorder",
    "log.level",
    "model.queue_limit",
    "model.default_timeout_ms",
    "model.max_timeout_ms",
    "model.max_image_pixels",
    "model.top_k",
    "server.admin_token_file",
    "server.max_body_bytes",
    "server.max_body_memory_bytes",
    "server.max_image_memory_bytes",
    "server.shutdown_timeout_seconds",
];

/// What a reload does.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The configuration in force from now on: keys that need a restart keep their values.
    pub config: Config,
    /// Keys that take effect now.
    pub applied: Vec<String>,
    /// Keys that take effect with the next start.
    pub restart: Vec<String>,
}

/// What turns `old` into `wanted`, with `queue_room` places for requests at most.
pub fn diff(old: &Config, wanted: &Config, queue_room: usize) -> Change {
    let (mut applied, mut restart) = (Vec::new(), Vec::new());
    let (Ok(mut now), Ok(next)) = (serde_json::to_value(old), serde_json::to_value(wanted)) else {
        // Both are plain data, which always has such a form.
        return Change { config: old.clone(), applied, restart };
    };
    let room = wanted.model.queue_limit <= queue_room;
    let at_once = |key: &str| {
        let named = |known: &&str| key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        AT_ONCE.iter().any(named) && (key != "model.queue_limit" || room)
    };
    merge("", &mut now, &next, &mut |key| {
        let applies = at_once(key);
        if applies { &mut applied } else { &mut restart }.push(key.to_owned());
        applies
    });
    match serde_json::from_value(now) {
        Ok(config) => Change { config, applied, restart },
        Err(_) => Change { config: old.clone(), applied: Vec::new(), restart },
    }
}

/// Asks `take` of every key that differs, and puts those that it takes from `next` into `now`.
fn merge(path: &str, now: &mut Value, next: &Value, take: &mut impl FnMut(&str) -> bool) {
    let (Value::Object(now), Value::Object(next)) = (now, next) else { return };
    let mut keys: Vec<String> = now.keys().chain(next.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (now.get_mut(&key), next.get(&key)) {
            (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) => merge(&inner, before, after, take),
            (before, after) if before.as_deref() == after => {}
            (_, after) => {
                if take(&inner) {
                    match after {
                        Some(after) => drop(now.insert(key, after.clone())),
                        None => drop(now.remove(&key)),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_take_effect_at_once_and_a_port_does_not() {
        let old = Config::default();
        let mut wanted = old.clone();
        wanted.alerts.rules.memory.raise_above = 70.0;
        wanted.alerts.webhook.url = Some("http://127.0.0.1:9093/api/v2/alerts".to_owned());
        wanted.model.queue_limit = 3;
        wanted.server.listen.set_port(9);
        let change = diff(&old, &wanted, 4096);
        assert_eq!(change.applied, ["alerts.rules.memory.raise_above", "alerts.webhook.url", "model.queue_limit"]);
        assert_eq!(change.restart, ["server.listen"]);
        assert_eq!(change.config.alerts, wanted.alerts);
        assert_eq!(change.config.model.queue_limit, 3);
        assert_eq!(change.config.server.listen, old.server.listen);
    }

    #[test]
    fn a_key_that_is_taken_out_is_unset_again() {
        let mut old = Config::default();
        old.alerts.webhook.url = Some("http://a/".to_owned());
        let change = diff(&old, &Config::default(), 4096);
        assert_eq!((change.applied, change.config), (vec!["alerts.webhook.url".to_owned()], Config::default()));
    }

    #[test]
    fn a_queue_beyond_the_room_that_there_is_waits_for_the_next_start() {
        let old = Config::default();
        let mut wanted = old.clone();
        wanted.model.queue_limit = 5000;
        let change = diff(&old, &wanted, 4096);
        assert_eq!((change.applied.len(), change.restart), (0, vec!["model.queue_limit".to_owned()]));
        assert_eq!(diff(&old, &old, 0).restart, Vec::<String>::new());
    }
}
