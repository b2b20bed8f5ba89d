//! Reading a configuration: file, environment and command line, one over the other, with every problem reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use ::config::{Map, Source, Value, ValueKind};
use serde::Deserialize;

use super::check::check;
use super::layers::{self, Layer};
use super::problem::{ConfigErrors, ConfigProblem, Place, quoted};
use super::schema::{Key, Kind, Schema};
use super::types::Config;

/// The file that is read where no other one is named and where it exists. None is ever looked for in the working
/// directory.
pub const DEFAULT_FILE: &str = "/etc/edge-service/edge-service.toml";

/// The largest configuration file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// How many problems are listed one by one.
const MOST_PROBLEMS: usize = 200;

/// Environment variables by name, captured once: nothing below reads the process's own.
pub type Environment = BTreeMap<String, String>;

/// The process's environment as it is now. What is not UTF-8 in it is replaced, not left out, so that a variable which
/// cannot be used is seen to be wrong rather than missing.
pub fn captured_environment() -> Environment {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the file to read instead of [`DEFAULT_FILE`]; it must exist.
    pub config: Option<PathBuf>,
    /// `--model`: the model file, as it is: the quantised form is switched off. The default configuration file is read
    /// all the same.
    pub model: Option<PathBuf>,
    /// `--name`: the name to serve the model under.
    pub name: Option<String>,
    /// `--listen`: address and port.
    pub listen: Option<String>,
}

/// A configuration that holds, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if one was.
    pub source: Option<PathBuf>,
    /// The place of every key that is set; the others have their defaults.
    pub places: BTreeMap<String, Place>,
    /// What is not wrong but worth one line in the log.
    pub notices: Vec<String>,
}

/// All that was read: what holds, and what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The settings that hold; one that is wrong has its default here.
    pub loaded: Loaded,
    /// What is wrong, if anything is.
    pub errors: Option<ConfigErrors>,
}

impl Survey {
    /// The configuration, where nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// Every problem at once.
    pub fn into_loaded(self) -> Result<Loaded, ConfigErrors> {
        match self.errors {
            None => Ok(self.loaded),
            Some(errors) => Err(errors),
        }
    }

    /// Whether something is wrong with this key itself.
    pub fn is_wrong(&self, key: &str) -> bool {
        self.errors.iter().flat_map(|errors| &errors.0).any(|problem| problem.key == key)
    }

    /// Whether the value of this key is the one that was meant: nothing is wrong with it, and where it is unset, no
    /// text that could not be read may have set it.
    pub fn knows(&self, key: &str) -> bool {
        let is_set = self.loaded.places.contains_key(key);
        !self.is_wrong(key) && (is_set || !self.is_wrong(""))
    }
}

/// Reads the configuration like [`load`], and keeps what holds beside what is wrong.
pub fn survey(overrides: &Overrides, environment: &Environment) -> Survey {
    survey_from(overrides, environment, Path::new(DEFAULT_FILE))
}

/// Reads the configuration: defaults < file < environment < command line.
///
/// The file is `--config`, else [`DEFAULT_FILE`] where it exists. Relative paths in it are left as they are: they start
/// at the working directory.
///
/// # Errors
///
/// Every problem at once: a file that cannot be read, syntax, unknown keys and variables, wrong types, values out of
/// range, settings that contradict each other.
pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    load_from(overrides, environment, Path::new(DEFAULT_FILE))
}

/// [`load`] with another file in the place of [`DEFAULT_FILE`].
///
/// # Errors
///
/// See [`load`].
pub fn load_from(
    overrides: &Overrides,
    environment: &Environment,
    default_file: &Path,
) -> Result<Loaded, ConfigErrors> {
    survey_from(overrides, environment, default_file).into_loaded()
}

fn survey_from(overrides: &Overrides, environment: &Environment, default_file: &Path) -> Survey {
    let mut problems = Vec::new();
    let document = match &overrides.config {
        Some(path) => read(path, true).map(|text| text.map(|text| (path.as_path(), text))),
        None => read(default_file, false).map(|text| text.map(|text| (default_file, text))),
    };
    let document = document.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let document = document.as_ref().map(|(path, text)| (*path, text.as_str()));
    merge(document, overrides, environment, problems)
}

/// The text of a configuration file; `None` where it does not exist and need not.
fn read(path: &Path, required: bool) -> Result<Option<String>, ConfigProblem> {
    let place = || Place::File { path: path.to_owned(), line: 0, column: 0 };
    let refused = |message: String| Err(ConfigProblem::unreadable(place(), message));
    let mut bytes = Vec::new();
    let outcome = File::open(path).and_then(|file| {
        // A folder opens like a file; only reading it fails, and with a text that does not say why.
        if file.metadata()?.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)
    });
    match outcome {
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory if !required => Ok(None),
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                refused("no such file; correct --config, or leave it out".to_owned())
            }
            ErrorKind::IsADirectory => refused("is a directory; name the TOML file in it".to_owned()),
            ErrorKind::PermissionDenied => {
                refused("may not be read; give the daemon's user the right to read it".to_owned())
            }
            _ => refused(format!("cannot be read: {error}")),
        },
        Ok(_) if bytes.len() as u64 > LARGEST_FILE => {
            refused(format!("is larger than {LARGEST_FILE} bytes; is it a configuration file?"))
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                let place = Place::File { path: path.to_owned(), line, column: 0 };
                Err(ConfigProblem::new(place, "", "is not UTF-8; save the file as UTF-8"))
            }
        },
    }
}

fn merge(
    document: Option<(&Path, &str)>,
    overrides: &Overrides,
    environment: &Environment,
    mut problems: Vec<ConfigProblem>,
) -> Survey {
    let schema = Schema::new();
    let layers = [
        document.map(|(path, text)| layers::file(path, text, &schema, &mut problems)),
        overrides.model.is_none().then(|| layers::older_names(environment, &mut problems)),
        Some(layers::variables(environment, &schema, &mut problems)),
        Some(layers::overrides(overrides, &mut problems)),
    ];
    let (mut merged, mut places) = stack(layers.into_iter().flatten(), &mut problems);
    if overrides.model.is_some() {
        merged.remove("model.quantized_path");
        places.remove("model.quantized_path");
    }

    // Each value is tried alone, so that one that is wrong hides no other.
    let place_of = |key: &str| places.get(key).cloned().unwrap_or(Place::Default);
    // Below a rule that sets one key the others have that rule's own defaults, so these are laid below first.
    let mut accepted = toml::Table::try_from(Config::default()).unwrap_or_default();
    for key in &schema.keys {
        let Some(value) = merged.remove(&key.path) else { continue };
        match typed(value).ok_or_else(|| expected(key, None)).and_then(|value| accept(key, value)) {
            Ok(value) => insert(&mut accepted, key, value),
            Err(message) => problems.push(ConfigProblem::new(place_of(&key.path), &key.path, message)),
        }
    }
    let mut config = Config::deserialize(toml::Value::Table(accepted.clone())).unwrap_or_else(|error| {
        problems.push(ConfigProblem::new(Place::Default, "", error.message()));
        Config::default()
    });

    // A key that is already wrong has its default by now, which is no reason to complain of another one.
    let wrong: BTreeSet<String> = problems.iter().map(|problem| problem.key.clone()).collect();
    for mut problem in check(&config) {
        let against = problem.against.clone().filter(|key| places.contains_key(key));
        if !wrong.contains(&problem.key) && !problem.against.as_ref().is_some_and(|key| wrong.contains(key)) {
            problem.place = match (place_of(&problem.key), against) {
                (Place::Default, Some(other)) => place_of(&other),
                (place, _) => place,
            };
            remove(&mut accepted, &problem.key);
            problems.push(problem);
        }
    }
    let mut errors = None;
    if !problems.is_empty() {
        config = Config::deserialize(toml::Value::Table(accepted)).unwrap_or_default();
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        if problems.len() > MOST_PROBLEMS {
            let message = format!("and {} more; is it a configuration file?", problems.len() - MOST_PROBLEMS);
            problems.truncate(MOST_PROBLEMS);
            let place = problems.last().map_or(Place::Default, |problem| problem.place.clone());
            problems.push(ConfigProblem::new(place, "", message));
        }
        errors = Some(ConfigErrors(problems));
    }
    let source = document.map(|(path, _)| path.to_owned());
    let notices = layers::near_misses(environment, &schema);
    Survey { loaded: Loaded { config, source, places, notices }, errors }
}

/// Lays the layers one over the other: the values by key, and the place of the one that holds.
fn stack(
    layers: impl Iterator<Item = Layer>,
    problems: &mut Vec<ConfigProblem>,
) -> (BTreeMap<String, Value>, BTreeMap<String, Place>) {
    let mut builder = ::config::Config::builder();
    let mut places = BTreeMap::new();
    for mut layer in layers {
        places.append(&mut layer.places);
        builder = builder.add_source(layer);
    }
    let sections = builder.build().and_then(|merged| merged.collect()).unwrap_or_else(|error| {
        problems.push(ConfigProblem::new(Place::Default, "", one_line(&error.to_string())));
        Map::new()
    });
    let mut values = BTreeMap::new();
    flatten(sections, "", &mut values);
    (values, places)
}

/// Puts what lies in `table` and in the tables within it under dotted keys.
fn flatten(table: Map<String, Value>, above: &str, values: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = if above.is_empty() { name } else { format!("{above}.{name}") };
        match value.kind {
            ValueKind::Table(inner) => flatten(inner, &path, values),
            kind => {
                values.insert(path, Value::new(None, kind));
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn typed(value: Value) -> Option<toml::Value> {
    match value.kind {
        ValueKind::Boolean(switch) => Some(toml::Value::Boolean(switch)),
        ValueKind::I64(number) => Some(toml::Value::Integer(number)),
        ValueKind::Float(number) => Some(toml::Value::Float(number)),
        ValueKind::String(text) => Some(toml::Value::String(text)),
        _ => None,
    }
}

fn insert(table: &mut toml::Table, key: &Key, value: toml::Value) {
    let mut section = table;
    for word in key.section.split('.') {
        let inner = section.entry(word).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(inner) = inner.as_table_mut() else { return };
        section = inner;
    }
    section.insert(key.name.to_owned(), value);
}

fn remove(table: &mut toml::Table, key: &str) {
    let Some((section, name)) = key.split_once('.') else { return };
    if let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
        section.remove(name);
    }
}

/// The value, if its key takes it; else what the key takes.
fn accept(key: &Key, value: toml::Value) -> Result<toml::Value, String> {
    let mut alone = toml::Table::new();
    insert(&mut alone, key, value.clone());
    match Config::deserialize(toml::Value::Table(alone)) {
        Ok(_) => Ok(value),
        Err(error) => Err(match (key.kind, &value) {
            (Kind::Whole, toml::Value::Integer(number)) if *number < 0 => {
                format!("{number} is out of range: expected a whole number from 0")
            }
            (Kind::Whole, toml::Value::Integer(number)) => format!("{number} is too large"),
            (Kind::Text, toml::Value::String(text)) if key.path == "server.listen" => format!(
                "{} is no address: expected an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
                quoted(text)
            ),
            (Kind::Text, toml::Value::String(text)) => {
                format!("{} is not accepted: {}", quoted(text), one_line(error.message()))
            }
            _ => expected(key, Some(&value)),
        }),
    }
}

fn expected(key: &Key, found: Option<&toml::Value>) -> String {
    let expected = match key.kind {
        Kind::Switch => "expected true or false",
        Kind::Whole => "expected a whole number",
        Kind::Number => "expected a number",
        Kind::Text => "expected text in quotes",
    };
    match found {
        Some(toml::Value::String(text)) => format!("{expected}, found the text {}", quoted(text)),
        Some(other) => format!("{expected}, found {other}"),
        None => format!("{expected}, found a list or a table"),
    }
}
