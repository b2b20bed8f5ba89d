//! What a configuration must satisfy beyond the types of its values: ranges, forms, and settings that contradict each
//! other. Pure: no file is looked at.

use std::fmt::Display;
use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::check_watch;
use super::problem::{ConfigProblem, Place, quoted};
use super::types::{Config, LogConfig, ModelConfig, ServerConfig};
use super::variant;

/// The longest name of a server or a model, in bytes.
const LONGEST_NAME: usize = 200;
/// The longest path, in bytes: what Linux takes.
const LONGEST_PATH: usize = 4095;
/// The shortest duration that a limit may have, in seconds.
const SHORTEST_SECONDS: f64 = 0.001;
pub(super) const HOUR_SECONDS: f64 = 3600.0;
pub(super) const DAY_SECONDS: f64 = 86_400.0;

/// Everything that is out of range or contradictory in a configuration, each with its key. The places are all
/// [`Place::Default`]: where a value came from is known to [`super::load`] alone.
pub fn check(config: &Config) -> Vec<ConfigProblem> {
    let mut found = Findings(Vec::new());
    server(&config.server, &mut found);
    model(&config.model, &mut found);
    log(&config.log, &mut found);
    check_watch::monitor(&config.monitor, &mut found);
    check_watch::recorder(&config.recorder, &mut found);
    check_watch::alerts(&config.alerts, &mut found);
    found.0
}

/// The name that the model is served under: `model.name`, else the file's stem, or its folder's name where the stem is
/// `model`. Characters that a name may not have are replaced.
pub fn model_name(config: &Config) -> String {
    if let Some(name) = &config.model.name {
        return name.clone();
    }
    let path = &config.model.path;
    let folder = || path.parent().and_then(Path::file_name);
    let stem = match path.file_stem() {
        Some(stem) if stem == "model" => folder().unwrap_or(stem),
        Some(stem) => stem,
        None => return "model".to_owned(),
    };
    let stem = stem.to_string_lossy();
    let mut name: String = stem.trim().chars().map(|c| if c.is_control() || c == '/' { '_' } else { c }).collect();
    let end = (0..=LONGEST_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.truncate(end);
    if matches!(name.as_str(), "" | "." | "..") { "model".to_owned() } else { name }
}

fn server(server: &ServerConfig, found: &mut Findings) {
    if server.listen.ip().is_multicast() {
        found.say("server.listen", format!("{} is a multicast address; name one of this machine", server.listen));
    }
    found.name("server.name", &server.name);
    found.range("server.workers", server.workers, 1, 256);
    found.range("server.max_connections", server.max_connections, 1, 100_000);
    let body_fits = found.range("server.max_body_bytes", server.max_body_bytes as u64, 1024, 1 << 40);
    found.range("server.max_image_memory_bytes", server.max_image_memory_bytes as u64, 1024, 1 << 40);
    let memory = server.max_body_memory_bytes as u64;
    let memory_fits = found.range("server.max_body_memory_bytes", memory, 1024, 1 << 40);
    if body_fits && memory_fits && server.max_body_bytes > server.max_body_memory_bytes {
        let message = format!(
            "{} is more than server.max_body_memory_bytes, {}: such a body could never be read; lower this one or raise that one",
            server.max_body_bytes, server.max_body_memory_bytes
        );
        found.contradiction("server.max_body_bytes", "server.max_body_memory_bytes", message);
    }
    found.range("server.client_timeout_seconds", server.client_timeout_seconds, SHORTEST_SECONDS, HOUR_SECONDS);
    found.range("server.keep_alive_seconds", server.keep_alive_seconds, SHORTEST_SECONDS, DAY_SECONDS);
    found.range("server.shutdown_timeout_seconds", server.shutdown_timeout_seconds, SHORTEST_SECONDS, HOUR_SECONDS);
    found.range("server.restart_budget", server.restart_budget, 0, 1000);
    found.range("server.restart_window_seconds", server.restart_window_seconds, SHORTEST_SECONDS, DAY_SECONDS);
    found.range("server.restart_backoff_ms", server.restart_backoff_ms, 1, 60_000);
    found.optional_path("server.admin_token_file", server.admin_token_file.as_deref());
    found.optional_path("server.state_directory", server.state_directory.as_deref());
}

fn model(model: &ModelConfig, found: &mut Findings) {
    found.path("model.path", &model.path);
    if let Some(name) = &model.name {
        found.name("model.name", name);
        if name.contains('/') {
            found.say("model.name", format!("{} holds a slash, which a part of an address cannot", quoted(name)));
        } else if matches!(name.as_str(), "." | "..") {
            found.say("model.name", format!("{} cannot be part of an address; choose another name", quoted(name)));
        }
    }
    if !(1..=18).contains(&model.version.len()) || !model.version.bytes().all(|byte| byte.is_ascii_digit()) {
        found.say("model.version", format!("{} is not a version: expected 1 to 18 digits", quoted(&model.version)));
    }
    if let Some(sha256) = &model.sha256
        && (sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        let message =
            format!("{} is not a SHA-256: expected 64 hexadecimal digits, as sha256sum writes", quoted(sha256));
        found.say("model.sha256", message);
    }
    found.optional_path("model.quantized_path", model.quantized_path.as_deref());
    found.optional_path("model.runtime_library", model.runtime_library.as_deref());
    found.range("model.sessions", model.sessions, 1, 64);
    found.range("model.threads", model.threads, 0, 1024);
    found.range("model.queue_limit", model.queue_limit, 1, 1_000_000);
    let day_ms = 86_400_000;
    let default_fits = found.range("model.default_timeout_ms", model.default_timeout_ms, 1, day_ms);
    let longest_fits = found.range("model.max_timeout_ms", model.max_timeout_ms, 1, day_ms);
    if default_fits && longest_fits && model.default_timeout_ms > model.max_timeout_ms {
        let message = format!(
            "{} is more than model.max_timeout_ms, {}; lower this one or raise that one",
            model.default_timeout_ms, model.max_timeout_ms
        );
        found.contradiction("model.default_timeout_ms", "model.max_timeout_ms", message);
    }
    found.range("model.load_timeout_seconds", model.load_timeout_seconds, SHORTEST_SECONDS, HOUR_SECONDS);
    if model.canary_seconds != 0.0 && !(0.05..=DAY_SECONDS).contains(&model.canary_seconds) {
        let message = format!("{} is out of range: expected 0 (off), or 0.05 to {DAY_SECONDS}", model.canary_seconds);
        found.say("model.canary_seconds", message);
    }
    found.range("model.canary_timeout_ms", model.canary_timeout_ms, 1, 600_000);
    found.range("model.canary_tolerance", model.canary_tolerance, 0.0, 1.0);
    found.range("model.max_image_pixels", model.max_image_pixels, 1, 1_000_000_000);
    found.range("model.top_k", model.top_k, 1, 10_000);
    variant::check(model, found);
}

fn log(log: &LogConfig, found: &mut Findings) {
    if let Err(message) = log_level(&log.level) {
        found.say("log.level", message);
    }
    found.range("log.repeat_seconds", log.repeat_seconds, 0.0, DAY_SECONDS);
}

/// A filter takes any word as the name of a module, so a mistyped level would switch the log off without a word: here a
/// directive without `=` must be a level.
fn log_level(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    if text.trim().is_empty() {
        return Err(format!("is empty: expected one of {}", LEVELS.join(", ")));
    }
    // A comma within a span's fields separates no directives.
    if !text.contains('[') {
        for directive in text.split(',') {
            let level = directive.rsplit('=').next().unwrap_or(directive);
            if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                let all = LEVELS.join(", ");
                return Err(format!("{} is no level: expected one of {all}, or MODULE=LEVEL", quoted(directive)));
            }
        }
    }
    EnvFilter::builder().parse(text).map(drop).map_err(|error| format!("{} is no filter: {error}", quoted(text)))
}

pub(super) struct Findings(Vec<ConfigProblem>);

impl Findings {
    pub(super) fn say(&mut self, key: &str, message: String) {
        self.0.push(ConfigProblem::new(Place::Default, key, message));
    }

    pub(super) fn contradiction(&mut self, key: &str, against: &str, message: String) {
        let problem = ConfigProblem::new(Place::Default, key, message);
        self.0.push(ConfigProblem { against: Some(against.to_owned()), ..problem });
    }

    /// Whether the value lies within the limits; what compares with nothing (`nan`) does not.
    pub(super) fn range<T: PartialOrd + Display>(&mut self, key: &str, value: T, least: T, most: T) -> bool {
        let fits = value >= least && value <= most;
        if !fits {
            self.say(key, format!("{value} is out of range: expected {least} to {most}"));
        }
        fits
    }

    fn name(&mut self, key: &str, name: &str) {
        if name.is_empty() {
            self.say(key, "is empty; give a name, or leave the key out".to_owned());
        } else if name.len() > LONGEST_NAME {
            self.say(key, format!("is {} bytes long; the longest name has {LONGEST_NAME}", name.len()));
        } else if name.chars().any(char::is_control) || name.trim() != name {
            let message = format!("{} has control characters or spaces around it; take them out", quoted(name));
            self.say(key, message);
        }
    }

    pub(super) fn optional_path(&mut self, key: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.path(key, path);
        }
    }

    fn path(&mut self, key: &str, path: &Path) {
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.is_empty() {
            self.say(key, "is empty; name a path, or leave the key out".to_owned());
        } else if bytes.len() > LONGEST_PATH {
            self.say(key, format!("is {} bytes long; the longest path has {LONGEST_PATH}", bytes.len()));
        } else if bytes.contains(&0) {
            self.say(key, "holds a zero byte, which no path can".to_owned());
        }
    }
}
