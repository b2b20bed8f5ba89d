//! A reader of Prometheus' text format 0.0.4 that takes nothing on trust.

use std::collections::BTreeMap;

/// What a text holds.
#[derive(Debug, Default)]
pub struct Exposition {
    /// Types by the name of the metric.
    pub families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    /// The value of a sample, named with its labels as they stand in the text.
    pub fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("there is no {sample}"))
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Reads the whole text; the line that is wrong, and why, where one is.
pub fn parse(text: &str) -> Result<Exposition, String> {
    let mut read = Exposition::default();
    let mut helped = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let wrong = |why: &str| format!("{why}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            rest.split_once(' ').filter(|(_, text)| !text.is_empty()).ok_or_else(|| wrong("a help without words"))?;
            helped = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("a type without a name"))?;
            if name != helped || !is_name(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(wrong("a type without help, or unknown"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(wrong("counters, and only they, end in _total"));
            }
            if read.families.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err(wrong("twice"));
            }
        } else if !line.starts_with('#') {
            sample(line, &helped, &mut read).map_err(|why| wrong(&why))?;
        }
    }
    histograms(&read)?;
    Ok(read)
}

fn sample(line: &str, family: &str, read: &mut Exposition) -> Result<(), String> {
    let (key, value) = line.rsplit_once(' ').ok_or("no value")?;
    let value: f64 = value.parse().map_err(|_| "no number")?;
    let (name, labels) = match key.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').ok_or("labels without an end")?),
        None => (key, ""),
    };
    let kind = read.families.get(family).ok_or("a sample before its type")?;
    let suffix = name.strip_prefix(family).ok_or("a sample among another metric's")?;
    let fits = if kind == "histogram" { ["_bucket", "_sum", "_count"].contains(&suffix) } else { suffix.is_empty() };
    if !fits {
        return Err("a name that its type does not have".to_owned());
    }
    labels_are_right(labels)?;
    match read.samples.insert(key.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err("the same labels twice".to_owned()),
    }
}

fn labels_are_right(mut labels: &str) -> Result<(), String> {
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name) || name.contains(':') {
            return Err("a label's name".to_owned());
        }
        let mut end = None;
        let mut escaped = false;
        for (at, c) in rest.char_indices() {
            match (escaped, c) {
                (true, '\\' | '"' | 'n') => escaped = false,
                (true, _) => return Err("an escape that there is not".to_owned()),
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let rest = &rest[end.ok_or("a value without an end")? + 1..];
        labels = match rest.strip_prefix(',') {
            Some(more) => more,
            None if rest.is_empty() => "",
            None => return Err("no comma between labels".to_owned()),
        };
    }
    Ok(())
}

/// Buckets grow to the count, which the last of them, `+Inf`, is.
fn histograms(read: &Exposition) -> Result<(), String> {
    for (family, _) in read.families.iter().filter(|(_, kind)| *kind == "histogram") {
        // By the labels other than `le`, which stands last where there are others.
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (key, count) in &read.samples {
            let Some(labels) = key.strip_prefix(&format!("{family}_bucket{{")).and_then(|rest| rest.strip_suffix('}'))
            else {
                continue;
            };
            let (others, bound) = labels.rsplit_once("le=\"").ok_or_else(|| format!("{key} has no bound"))?;
            let bound = bound.trim_end_matches('"');
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| key.clone())? };
            series.entry(others.trim_end_matches(',').to_owned()).or_default().push((bound, *count));
        }
        for (labels, mut buckets) in series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let grows = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            let key = if labels.is_empty() { format!("{family}_count") } else { format!("{family}_count{{{labels}}}") };
            let count = read.samples.get(&key).ok_or_else(|| format!("{key} is missing"))?;
            if !grows || buckets.last() != Some(&(f64::INFINITY, *count)) {
                return Err(format!("the buckets of {family} do not add up to {count}"));
            }
        }
    }
    Ok(())
}
