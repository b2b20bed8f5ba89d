//! The shipped file and the manual hold every key, with the defaults that the code has.

use super::super::schema::{Kind, Schema};
use super::super::{Config, check};
use super::Bench;

const SHIPPED: &str = include_str!("../../../config/edge-service.toml");
const MANUAL: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_shipped_file_equals_the_defaults() {
    let loaded = Bench::new(SHIPPED).load().unwrap();
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn the_shipped_file_has_every_key_in_its_section() {
    let mut section = "";
    let mut written = Vec::new();
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let uncommented = line.strip_prefix("# ").unwrap_or(line);
        if let Some((name, _)) = uncommented.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
            written.push(format!("{section}.{name}"));
        }
    }
    let known: Vec<String> = Schema::new().keys.into_iter().map(|key| key.path).collect();
    assert_eq!(written, known);
}

#[test]
fn the_examples_in_the_shipped_file_hold() {
    let is_example = |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
    let uncommented: Vec<&str> =
        SHIPPED.lines().map(|line| line.strip_prefix("# ").filter(is_example).unwrap_or(line)).collect();
    let loaded = Bench::new(&uncommented.join("\n")).load().unwrap();
    assert!(loaded.config.model.sha256.is_some() && loaded.config.server.state_directory.is_some());
    assert_eq!(loaded.places.len(), Schema::new().keys.len());
}

#[test]
fn the_manual_has_every_key_with_its_default() {
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for key in Schema::new().keys.into_iter().filter(|key| !key.section.starts_with("alerts.rules.")) {
        let start = format!("| `{}` | ", key.path);
        let row = MANUAL.lines().find_map(|line| line.strip_prefix(&start));
        let row = row.unwrap_or_else(|| panic!("{} is not in the manual", key.path));
        let told = row.split(" | ").next().unwrap().trim_matches('`').trim_matches('"');
        let section =
            key.section.split('.').fold(&toml::Value::Table(defaults.clone()), |table, word| &table[word]).clone();
        let default = match section.get(key.name) {
            Some(toml::Value::String(text)) => text.clone(),
            Some(toml::Value::Float(number)) => number.to_string(),
            Some(other) => other.to_string(),
            None => "unset".to_owned(),
        };
        assert_eq!(told, default, "{}", key.path);
    }
}

#[test]
fn the_manual_has_every_rule_with_its_defaults_and_every_key_of_a_rule() {
    for (name, rule) in Config::default().alerts.rules.all() {
        let row = format!("| `{name}` | {} | {} | {} | ", rule.raise_above, rule.clear_below, rule.severity.name());
        assert!(MANUAL.contains(&row), "{row} is not in the manual");
    }
    let own = ["raise_above", "clear_below", "severity"];
    for key in Schema::new().keys.into_iter().filter(|key| key.section == "alerts.rules.cpu") {
        let default = toml::Value::try_from(crate::config::RuleConfig::default()).unwrap()[key.name].to_string();
        let default = default.trim_matches('"').trim_end_matches(".0");
        let row = format!("| `{}` | {} | ", key.name, if own.contains(&key.name) { "below" } else { default });
        assert!(MANUAL.contains(&row), "{row} is not in the manual");
    }
}

#[test]
fn the_schema_is_read_off_the_types() {
    let schema = Schema::new();
    let sections = ["server", "model", "model.qualify", "model.rollback", "log", "monitor", "recorder", "alerts"];
    assert_eq!(schema.sections[..8], sections);
    let of_rules = schema.keys.iter().filter(|key| key.section.starts_with("alerts.rules.")).count();
    assert_eq!(of_rules, crate::core::alert::RuleName::ALL.len() * 11);
    assert!(schema.keys.len() > of_rules + 50, "{} keys", schema.keys.len());
    let key = schema.key("model", "canary_seconds").unwrap();
    assert_eq!((key.kind, key.variable.as_str()), (Kind::Number, "EDGE_SERVICE__MODEL__CANARY_SECONDS"));
    assert_eq!(schema.key("model", "sha256").unwrap().kind, Kind::Text);
}

#[test]
fn a_written_out_configuration_reads_back() {
    let mut config = Config::default();
    config.model.name = Some("digits".to_owned());
    config.server.state_directory = Some("/var/lib/edge-service".into());
    assert_eq!(check(&config), []);
    let text = toml::to_string(&config).unwrap();
    assert_eq!(Bench::new(&text).load().unwrap().config, config);
}
