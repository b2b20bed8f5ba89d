//! One table of a TOML file, read key by key, so that every problem is found at once and not the first alone.

use toml::{Table, Value};

/// How far a misspelt word may be from the one that is suggested, by Jaro and Winkler, 1 being equal.
const NEAR: f64 = 0.75;

/// A table that is being read. Every method takes a key, and notes it as known; a value of the wrong type or range
/// becomes a problem and counts as absent.
pub struct Section<'t, 'p> {
    /// What goes before a key in a problem: empty, or such as `input.`.
    prefix: &'static str,
    table: Option<&'t Table>,
    known: Vec<&'static str>,
    problems: &'p mut Vec<String>,
}

impl<'t, 'p> Section<'t, 'p> {
    /// A section; one without a table is empty.
    pub fn new(prefix: &'static str, table: Option<&'t Table>, problems: &'p mut Vec<String>) -> Section<'t, 'p> {
        Section { prefix, table, known: Vec::new(), problems }
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Value> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// Notes a problem with a key.
    pub fn problem(&mut self, key: &str, what: &str) {
        self.problems.push(format!("{}{key} {what}", self.prefix));
    }

    /// A sub-table.
    pub fn table(&mut self, key: &'static str) -> Option<&'t Table> {
        let value = self.value(key)?;
        if value.as_table().is_none() {
            self.problem(key, &format!("is {}, write it as [{key}]", kind(value)));
        }
        value.as_table()
    }

    /// Text that is not empty.
    pub fn text(&mut self, key: &'static str) -> Option<&'t str> {
        let value = self.value(key)?;
        match value.as_str() {
            Some("") => self.problem(key, "is empty, leave it out or name something"),
            Some(text) => return Some(text),
            None => self.problem(key, &format!("is {}, write it in quotes", kind(value))),
        }
        None
    }

    /// One of several words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = nearest(text, &names).map(|word| format!(", did you mean \"{word}\"")).unwrap_or_default();
        self.problem(key, &format!("is \"{text}\", use one of {}{hint}", names.join(", ")));
        None
    }

    /// A whole number within a range.
    pub fn whole(&mut self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        let value = self.value(key)?;
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problem(key, &format!("is {value}, use a whole number from {least} to {most}"));
        }
        number
    }

    /// A finite number.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        let value = self.value(key)?;
        let number = finite(value);
        if number.is_none() {
            self.problem(key, &format!("is {value}, use a finite number"));
        }
        number
    }

    /// A list of finite numbers, one a channel.
    pub fn numbers(&mut self, key: &'static str, count: usize) -> Option<Vec<f64>> {
        let value = self.value(key)?;
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(finite).collect());
        let numbers = numbers.filter(|numbers| numbers.len() == count);
        if numbers.is_none() {
            self.problem(key, &format!("is {value}, use a list of {count} finite numbers, one a channel"));
        }
        numbers
    }

    /// Notes a problem for every key that nobody has asked for.
    pub fn finish(mut self) {
        for key in self.table.into_iter().flat_map(Table::keys) {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let what = match nearest(key, &self.known) {
                Some(near) => format!("is no key, did you mean {}{near}", self.prefix),
                None => format!("is no key, use one of {}", self.known.join(", ")),
            };
            self.problem(key, &what);
        }
    }
}

fn finite(value: &Value) -> Option<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64))?;
    number.is_finite().then_some(number)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// The word nearest to one that is misspelt, if any is near.
fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let rated = words.iter().map(|known| (strsim::jaro_winkler(word, known), *known));
    rated.filter(|(rate, _)| *rate >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
