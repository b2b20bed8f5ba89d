//! Numbers, times and names as the page writes them.

use std::time::{Duration, SystemTime};

pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Three digits at most.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if value.fract() == 0.0 || size >= 9.95 => 0,
        size if size < 1.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$}")
}

pub(super) fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { number(value) } else { format!("{}\u{a0}{unit}", number(value)) }
}

pub(super) fn unit(name: &str) -> &str {
    match name {
        "percent" => "%",
        "celsius" => "°C",
        "seconds" => "s",
        "count" => "",
        other => other,
    }
}

/// `gpu_memory` as "GPU memory", `pressure_io` as "IO pressure".
pub(super) fn words(name: &str) -> String {
    let turned = name.strip_prefix("pressure_").map(|what| format!("{what}_pressure"));
    let text = turned.as_deref().unwrap_or(name);
    let word = |word: &str| match word {
        "cpu" | "gpu" | "io" => word.to_uppercase(),
        _ => word.to_owned(),
    };
    let text = text.split('_').map(word).collect::<Vec<_>>().join(" ");
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// A length of time in its two largest units.
pub(super) fn span(length: Duration) -> String {
    let total = length.as_secs();
    let (days, hours, minutes, seconds) = (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}\u{a0}s"),
        (0, 0, _) => format!("{minutes}\u{a0}min"),
        (0, ..) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
        _ => format!("{days}\u{a0}d {hours}\u{a0}h"),
    }
}

/// The time of day in UTC.
pub(super) fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}
