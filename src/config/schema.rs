//! Every key that there is and the kind of its value, read off the types themselves: a key added there is known here.

use std::fmt;
use std::iter::once;

use serde::Deserialize;
use serde::de::value::MapDeserializer;

use super::types::Config;

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Whole,
    /// A number, whole or not.
    Number,
    /// Text; also every key that has no default.
    Text,
}

/// One key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `section.name`
    pub path: String,
    /// The section that it stands in.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub variable: String,
    /// What it takes.
    pub kind: Kind,
}

/// Every key, section by section, in the order of the types.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    /// The sections' names.
    pub sections: &'static [&'static str],
    /// The keys.
    pub keys: Vec<Key>,
}

/// What separates `EDGE_SERVICE`, the section and the key in a variable's name.
pub(super) const VARIABLE_PREFIX: &str = "EDGE_SERVICE__";

impl Schema {
    pub(super) fn new() -> Self {
        let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
        let sections = fields(Config::deserialize(MapDeserializer::new(once(("?", ())))));
        let mut keys = Vec::new();
        for section in sections {
            let inner = MapDeserializer::new(once(("?", ())));
            for name in fields(Config::deserialize(MapDeserializer::new(once((*section, inner))))) {
                let kind = match defaults.get(*section).and_then(|table| table.get(*name)) {
                    Some(toml::Value::Boolean(_)) => Kind::Switch,
                    Some(toml::Value::Integer(_)) => Kind::Whole,
                    Some(toml::Value::Float(_)) => Kind::Number,
                    _ => Kind::Text,
                };
                let path = format!("{section}.{name}");
                let variable = format!("{VARIABLE_PREFIX}{}__{}", section.to_uppercase(), name.to_uppercase());
                keys.push(Key { path, section, name, variable, kind });
            }
        }
        Schema { sections, keys }
    }

    pub(super) fn key(&self, section: &str, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.section == section && key.name == name)
    }

    /// "did you mean server.listen?" for a key that does not exist, in the section that it was written in.
    pub(super) fn suggest_key(&self, section: Option<&str>, name: &str) -> String {
        let best = nearest(name, &self.keys, |key| key.name, |key| Some(key.section) == section);
        best.map(|(key, near)| suggestion(&key.path, near)).unwrap_or_default()
    }

    /// "did you mean [server]?" for a section that does not exist.
    pub(super) fn suggest_section(&self, name: &str) -> String {
        let best = nearest(name, self.sections, |section| section, |_| false);
        best.map(|(section, near)| suggestion(&format!("[{section}]"), near)).unwrap_or_default()
    }

    /// "did you mean EDGE_SERVICE__SERVER__LISTEN?" for a variable that sets nothing.
    pub(super) fn suggest_variable(&self, name: &str) -> String {
        let written = unprefixed(name);
        let best = nearest(&written, &self.keys, |key| unprefixed(&key.variable), |_| false);
        best.map(|(key, near)| suggestion(&key.variable, near)).unwrap_or_default()
    }
}

fn unprefixed(variable: &str) -> String {
    let start = variable.get(..VARIABLE_PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(VARIABLE_PREFIX));
    variable[start.map_or(0, str::len)..].to_lowercase()
}

fn suggestion(known: &str, near: bool) -> String {
    if near { format!("did you mean {known}?") } else { format!("the nearest that exists is {known}") }
}

/// The candidate most like `written`, and whether it is like enough to have been meant. Of two equally good ones the
/// favoured one is taken, so a typing error stays within its section.
fn nearest<'a, T, S: AsRef<str>>(
    written: &str,
    candidates: &'a [T],
    text: impl Fn(&'a T) -> S,
    favoured: impl Fn(&'a T) -> bool,
) -> Option<(&'a T, bool)> {
    const LONGEST: usize = 64;
    const LIKE_ENOUGH: f64 = 0.6;
    const FAVOUR: f64 = 0.05;
    let written: String = written.chars().take(LONGEST).collect();
    let mut best: Option<(&T, f64)> = None;
    for candidate in candidates {
        let alike = strsim::normalized_damerau_levenshtein(&written, text(candidate).as_ref());
        let score = alike + if favoured(candidate) { FAVOUR } else { 0.0 };
        if best.is_none_or(|(_, reached)| score > reached) {
            best = Some((candidate, score));
        }
    }
    best.map(|(candidate, score)| (candidate, score >= LIKE_ENOUGH))
}

/// An error that keeps the names which serde expected instead of an unknown one.
#[derive(Debug)]
struct Expected(&'static [&'static str]);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {:?}", self.0)
    }
}

impl std::error::Error for Expected {}

impl serde::de::Error for Expected {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Expected(&[])
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Expected(expected)
    }
}

fn fields(refused: Result<Config, Expected>) -> &'static [&'static str] {
    refused.err().map_or(&[], |expected| expected.0)
}
