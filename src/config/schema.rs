//! Every key that there is and the kind of its value, read off the types themselves: a key added there is known here.

use std::fmt;
use std::iter::once;

use serde::de::value::MapDeserializer;
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};

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
    /// `section.name`, or `section.section.name`
    pub path: String,
    /// The section that it stands in, dotted where sections lie in sections.
    pub section: String,
    /// Its name within the section.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub variable: String,
    /// What it takes.
    pub kind: Kind,
}

/// Every key, section by section, in the order of the types.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    /// The sections' names, dotted where sections lie in sections.
    pub sections: Vec<String>,
    /// The keys.
    pub keys: Vec<Key>,
}

/// What separates `EDGE_SERVICE`, the sections and the key in a variable's name.
pub(super) const VARIABLE_PREFIX: &str = "EDGE_SERVICE__";

impl Schema {
    pub(super) fn new() -> Self {
        let mut schema = Schema::default();
        schema.add(&mut Vec::new(), &toml::Table::try_from(Config::default()).unwrap_or_default());
        schema
    }

    /// Adds the section at `path`, whose defaults are `defaults`, and what lies in it.
    fn add(&mut self, path: &mut Vec<&'static str>, defaults: &toml::Table) {
        let section = path.join(".");
        let mut inner = Vec::new();
        for name in fields(Config::deserialize(Asked(path))) {
            let kind = match defaults.get(*name) {
                Some(toml::Value::Table(table)) => {
                    inner.push((*name, table));
                    continue;
                }
                Some(toml::Value::Boolean(_)) => Kind::Switch,
                Some(toml::Value::Integer(_)) => Kind::Whole,
                Some(toml::Value::Float(_)) => Kind::Number,
                _ => Kind::Text,
            };
            let words = path.iter().chain([name]).map(|word| word.to_uppercase()).collect::<Vec<_>>();
            let variable = format!("{VARIABLE_PREFIX}{}", words.join("__"));
            self.keys.push(Key { path: format!("{section}.{name}"), section: section.clone(), name, variable, kind });
        }
        for (name, table) in inner {
            path.push(name);
            self.sections.push(path.join("."));
            self.add(path, table);
            path.pop();
        }
    }

    /// Whether other sections lie in this one.
    pub(super) fn has_sections(&self, section: &str) -> bool {
        self.sections.iter().any(|other| other.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    }

    pub(super) fn key(&self, section: &str, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.section == section && key.name == name)
    }

    /// "did you mean server.listen?" for a key that does not exist, in the section that it was written in.
    pub(super) fn suggest_key(&self, section: Option<&str>, name: &str) -> String {
        let best = nearest(name, &self.keys, |key| key.name, |key| Some(key.section.as_str()) == section);
        best.map(|(key, near)| suggestion(&key.path, near)).unwrap_or_default()
    }

    /// "did you mean [server]?" for a section that does not exist.
    pub(super) fn suggest_section(&self, name: &str) -> String {
        let best = nearest(name, &self.sections, |section| section, |_| false);
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

/// A map of maps that ends, below the sections named, in a key which no section has.
#[derive(Clone, Copy)]
struct Asked<'p>(&'p [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Expected;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Expected> {
        match self.0.split_first() {
            Some((section, inner)) => visitor.visit_map(MapDeserializer::new(once((*section, Asked(inner))))),
            None => visitor.visit_map(MapDeserializer::new(once(("?", ())))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Expected> for Asked<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
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
