//! The layers that a configuration is made of: each reads its source, reports the keys that do not exist, and keeps
//! the values of those that do, with their place.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use ::config::{ConfigError, Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::load::{Environment, Overrides};
use super::problem::{ConfigProblem, Place, quoted};
use super::schema::{Kind, Schema, VARIABLE_PREFIX};
use crate::core::standing::Prefer;

/// The settings of one source. Only keys that exist are in it: the names in a file never reach the layering as paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: BTreeMap<String, Value>,
    /// The place of every value in it.
    pub places: BTreeMap<String, Place>,
}

impl Layer {
    fn set(&mut self, key: &str, place: Place, value: ValueKind) {
        self.values.insert(key.to_owned(), Value::new(Some(&place.to_string()), value));
        self.places.insert(key.to_owned(), place);
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone().into_iter().collect())
    }
}

/// The file's layer. A syntax error does not hide the rest: what can still be read is checked too.
pub(super) fn file(path: &Path, text: &str, schema: &Schema, problems: &mut Vec<ConfigProblem>) -> Layer {
    let (text, errors) = without_stray_lines(text);
    let lines = Lines::new(&text);
    let place = |offset: usize| Place::File { path: path.to_owned(), line: lines.number(offset), column: 0 };
    let mut layer = Layer::default();
    let mut found = Vec::new();
    let (document, more_errors) = DeTable::parse_recoverable(&text);
    read_tables(document.get_ref(), "", schema, &place, &mut layer, &mut found);
    // What a broken line seems to say is a guess of the parser's: only the syntax error is told of it.
    let mut broken = BTreeSet::new();
    for error in errors.iter().chain(&more_errors) {
        let start = error.span().map_or(0, |span| span.start);
        let line = lines.number(start);
        if broken.insert(line) {
            let column = text.get(lines.range(start).start..start).map_or(0, |before| before.chars().count() + 1);
            let place = Place::File { path: path.to_owned(), line, column };
            problems.push(ConfigProblem::new(place, "", format!("not valid TOML: {}", one_line(error.message()))));
        }
    }
    let is_broken = |place: &Place| matches!(place, Place::File { line, .. } if broken.contains(line));
    problems.extend(found.into_iter().filter(|problem| !is_broken(&problem.place)));
    layer.places.retain(|_, place| !is_broken(place));
    let places = &layer.places;
    layer.values.retain(|key, _| places.contains_key(key));
    layer
}

/// Takes what stands in the section `above`, and in the sections within it.
fn read_tables(
    table: &DeTable<'_>,
    above: &str,
    schema: &Schema,
    place: &dyn Fn(usize) -> Place,
    layer: &mut Layer,
    found: &mut Vec<ConfigProblem>,
) {
    for (name, value) in table {
        let here = place(name.span().start);
        let name = name.get_ref().as_ref();
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        let is_section = !name.contains('.') && schema.sections.contains(&path);
        match (schema.key(above, name), value.get_ref()) {
            (Some(key), value) => match leaf(value) {
                Ok(value) => layer.set(&key.path, here, value),
                Err(message) => found.push(ConfigProblem::new(here, &key.path, message)),
            },
            (None, DeValue::Table(inner)) if is_section => read_tables(inner, &path, schema, place, layer, found),
            (None, DeValue::Table(_)) if above.is_empty() || schema.has_sections(above) => {
                let shown = if above.is_empty() { shown(name) } else { format!("{above}.{}", shown(name)) };
                let message = format!("unknown section; {}", schema.suggest_section(&path));
                found.push(ConfigProblem::new(here, format!("[{shown}]"), message));
            }
            (None, _) if is_section => {
                let message = format!("is a section: write [{path}] on a line of its own and its keys below");
                found.push(ConfigProblem::new(here, path, message));
            }
            (None, _) => found.push(unknown(here, (!above.is_empty()).then_some(above), name, schema)),
        }
    }
}

/// The text with every line blanked that is neither a setting nor a heading (`workers 3`), and the errors that those
/// lines are: left as it is, such a line takes the next one down with it. Offsets stay as they were.
fn without_stray_lines(text: &str) -> (Cow<'_, str>, Vec<toml::de::Error>) {
    const ROUNDS: usize = 16;
    let mut text = Cow::Borrowed(text);
    let mut stray = Vec::new();
    for _ in 0..ROUNDS {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let lines = Lines::new(&text);
        let mut blanked = BTreeMap::new();
        for error in errors {
            let start = error.span().map_or(0, |span| span.start);
            let line = lines.range(start);
            let words = text.get(line.clone()).unwrap_or_default();
            let is_stray = !words.trim().is_empty() && !words.contains(['=', '[', ']']);
            if is_stray && blanked.insert(line.start, line).is_none() {
                stray.push(error);
            }
        }
        if blanked.is_empty() {
            break;
        }
        for line in blanked.into_values() {
            let blank = " ".repeat(line.len());
            text.to_mut().replace_range(line, &blank);
        }
    }
    (text, stray)
}

fn unknown(place: Place, section: Option<&str>, name: &str, schema: &Schema) -> ConfigProblem {
    let key = section.map_or_else(|| shown(name), |section| format!("{section}.{}", shown(name)));
    ConfigProblem::new(place, key, format!("unknown key; {}", schema.suggest_key(section, name)))
}

/// A key as the user wrote it, quoted where it would not be plain in a line of text.
fn shown(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= 60 && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ").replace(", expected nothing", "")
}

/// Where the lines of a text are.
struct Lines {
    starts: Vec<usize>,
    end: usize,
}

impl Lines {
    fn new(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Lines { starts, end: text.len() + 1 }
    }

    /// The number, from 1, of the line that an offset lies in.
    fn number(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// The bytes of the line that an offset lies in, without its end.
    fn range(&self, offset: usize) -> Range<usize> {
        let number = self.number(offset);
        let start = number.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or(0);
        let next = self.starts.get(number).copied().unwrap_or(self.end);
        start..next.saturating_sub(1).max(start)
    }
}

fn leaf(value: &DeValue<'_>) -> Result<ValueKind, String> {
    Ok(match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Boolean(switch) => ValueKind::Boolean(*switch),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => ValueKind::I64(number),
            Err(_) => return Err(format!("{number} is too large a number")),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => ValueKind::Float(number),
            Err(_) => return Err(format!("{} is not a number", number.as_str())),
        },
        DeValue::Datetime(date) => return Err(format!("expected no date (found {date}); put text in quotes")),
        DeValue::Array(_) | DeValue::Table(_) => ValueKind::Array(Vec::new()),
    })
}

/// The layer of the two older variables. An empty one counts as unset.
pub(super) fn older_names(environment: &Environment, problems: &mut Vec<ConfigProblem>) -> Layer {
    const PATH: &str = "EDGE_SERVICE_QUANTIZED_MODEL_PATH";
    const USE: &str = "EDGE_SERVICE_USE_QUANTIZED_MODEL";
    let mut layer = Layer::default();
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(path) = given(PATH) {
        layer.set("model.quantized_path", Place::Variable(PATH.to_owned()), ValueKind::String(path.clone()));
    }
    if let Some(word) = given(USE) {
        let place = Place::Variable(USE.to_owned());
        match switch(word) {
            Some(switch) => {
                let prefer = if switch { Prefer::Quantized } else { Prefer::Original };
                layer.set("model.prefer", place, ValueKind::String(prefer.name().to_owned()));
            }
            None => {
                let message = format!("expected true or false, found {}", quoted(word));
                problems.push(ConfigProblem::new(place, "model.prefer", message));
            }
        }
    }
    layer
}

/// The layer of the `EDGE_SERVICE__SECTION__KEY` variables.
pub(super) fn variables(environment: &Environment, schema: &Schema, problems: &mut Vec<ConfigProblem>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)) {
        let place = Place::Variable(name.clone());
        let Some(key) = schema.keys.iter().find(|key| key.variable == *name) else {
            let message = format!("unknown variable; {}", schema.suggest_variable(name));
            problems.push(ConfigProblem::new(place, "", message));
            continue;
        };
        // Text that does not parse stays text, which is then refused with the kind that the key takes.
        let trimmed = value.trim();
        let parsed = match key.kind {
            Kind::Switch => switch(trimmed).map(ValueKind::Boolean),
            Kind::Whole => trimmed.parse().ok().map(ValueKind::I64),
            Kind::Number => trimmed.parse().ok().map(ValueKind::Float),
            Kind::Text => None,
        };
        layer.set(&key.path, place, parsed.unwrap_or_else(|| ValueKind::String(value.clone())));
    }
    layer
}

/// Variables that look meant for the daemon and are not: a section or a key with one underscore too few before it.
pub(super) fn near_misses(environment: &Environment, schema: &Schema) -> Vec<String> {
    let plain = |name: &str| name.replace('_', "").to_uppercase();
    let meant = |name: &str| schema.keys.iter().find(|key| plain(&key.variable) == plain(name));
    let misses = environment.keys().filter(|name| !name.starts_with(VARIABLE_PREFIX));
    misses
        .filter_map(|name| meant(name).map(|key| (name, key)))
        .map(|(name, key)| format!("the variable {name} is ignored; did you mean {}?", key.variable))
        .collect()
}

/// `true`, `yes` and `1`, `false`, `no` and `0`, in either case.
fn switch(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// The command line's layer. `--model` names one file and means it: the quantised form is switched off with it.
pub(super) fn overrides(overrides: &Overrides, problems: &mut Vec<ConfigProblem>) -> Layer {
    let mut layer = Layer::default();
    if let Some(path) = &overrides.model {
        let place = Place::Option("--model");
        layer.set("model.prefer", place.clone(), ValueKind::String(Prefer::Original.name().to_owned()));
        match path.to_str() {
            Some(path) => layer.set("model.path", place, ValueKind::String(path.to_owned())),
            None => {
                let message = format!("{} is not a UTF-8 path; rename the file", path.display());
                problems.push(ConfigProblem::new(place, "model.path", message));
            }
        }
    }
    if let Some(name) = &overrides.name {
        layer.set("model.name", Place::Option("--name"), ValueKind::String(name.clone()));
    }
    if let Some(listen) = &overrides.listen {
        layer.set("server.listen", Place::Option("--listen"), ValueKind::String(listen.clone()));
    }
    layer
}
