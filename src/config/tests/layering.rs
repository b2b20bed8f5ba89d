//! Which layer wins.

use std::path::{Path, PathBuf};

use super::super::{Config, DEFAULT_FILE, Environment, Overrides, Place, captured_environment, load, load_from};
use super::Bench;
use crate::core::alert::RuleName;
use crate::core::standing::Prefer;

#[test]
fn nothing_given_means_the_defaults() {
    let loaded =
        load_from(&Overrides::default(), &Environment::new(), Path::new("/nonexistent/edge-service.toml")).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.source, None);
    assert!(loaded.places.is_empty());
    assert!(loaded.notices.is_empty());
}

#[test]
fn the_file_beats_the_defaults_and_says_where() {
    let bench = Bench::new("[model]\n\ntop_k = 3\ncanary_seconds = 2\n");
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.config.model.top_k, 3);
    assert_eq!(loaded.config.model.canary_seconds, 2.0);
    assert_eq!(loaded.source, Some(bench.file()));
    assert_eq!(loaded.places["model.top_k"], Place::File { path: bench.file(), line: 3, column: 0 });
    assert_eq!(loaded.places.len(), 2);
}

#[test]
fn the_default_file_is_read_where_it_exists_also_with_a_model() {
    let bench = Bench::new("server.workers = 7");
    let overrides = Overrides { model: Some("other.onnx".into()), ..Overrides::default() };
    let loaded = load_from(&overrides, &bench.environment, &bench.file()).unwrap();
    assert_eq!(loaded.config.server.workers, 7);
    assert_eq!(loaded.config.model.path, PathBuf::from("other.onnx"));
    assert_eq!(loaded.source, Some(bench.file()));
}

#[test]
fn without_a_file_named_only_the_one_under_etc_is_looked_for() {
    assert_eq!(DEFAULT_FILE, "/etc/edge-service/edge-service.toml");
    let mut environment = captured_environment();
    environment.retain(|name, _| !name.starts_with("EDGE_SERVICE"));
    let source = load(&Overrides::default(), &environment).map(|loaded| loaded.source);
    assert!(matches!(&source, Ok(None)) || Path::new(DEFAULT_FILE).exists(), "{source:?}");
}

#[test]
fn the_environment_beats_the_file() {
    let bench = Bench::new("[server]\nworkers = 7\nname = 'box'\n[model]\nspinning = false\n")
        .variable("EDGE_SERVICE__SERVER__WORKERS", "3")
        .variable("EDGE_SERVICE__MODEL__SPINNING", "true")
        .variable("EDGE_SERVICE__MODEL__CANARY_SECONDS", "0.5")
        .variable("EDGE_SERVICE__MODEL__RUNTIME_LIBRARY", "/opt/onnx/libonnxruntime.so")
        .variable("EDGE_SERVICE__MODEL__VERSION", "12")
        .variable("EDGE_SERVICE__LOG__FORMAT", "json");
    let config = bench.load().unwrap().config;
    assert_eq!(config.server.workers, 3);
    assert_eq!(config.server.name, "box");
    assert!(config.model.spinning);
    assert_eq!(config.model.canary_seconds, 0.5);
    assert_eq!(config.model.runtime_library, Some("/opt/onnx/libonnxruntime.so".into()));
    assert_eq!(config.model.version, "12");
    assert_eq!(config.log.format, super::super::LogFormat::Json);
}

#[test]
fn the_command_line_beats_the_environment() {
    let mut bench = Bench::new("server.listen = '127.0.0.1:1'\nmodel.name = 'file'")
        .variable("EDGE_SERVICE__SERVER__LISTEN", "127.0.0.1:2")
        .variable("EDGE_SERVICE__MODEL__PATH", "variable.onnx");
    bench.overrides.listen = Some("[::]:3".to_owned());
    bench.overrides.model = Some("option.onnx".into());
    bench.overrides.name = Some("option".to_owned());
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.config.server.listen.to_string(), "[::]:3");
    assert_eq!(loaded.config.model.path, PathBuf::from("option.onnx"));
    assert_eq!(loaded.config.model.name.as_deref(), Some("option"));
    assert_eq!(loaded.places["server.listen"], Place::Option("--listen"));
}

#[test]
fn an_overridden_value_is_not_judged() {
    let bench = Bench::new("server.workers = 'many'").variable("EDGE_SERVICE__SERVER__WORKERS", "3");
    assert_eq!(bench.load().unwrap().config.server.workers, 3);
}

const OLD_PATH: &str = "EDGE_SERVICE_QUANTIZED_MODEL_PATH";
const OLD_USE: &str = "EDGE_SERVICE_USE_QUANTIZED_MODEL";

#[test]
fn the_older_names_keep_working() {
    for (word, on) in [("true", true), ("True", true), ("1", true), ("yes", true), ("false", false), ("0", false)] {
        let bench =
            Bench::new("model.quantized_path = 'file.onnx'").variable(OLD_PATH, "q.onnx").variable(OLD_USE, word);
        let model = bench.load().unwrap().config.model;
        assert_eq!(model.quantized_path, Some("q.onnx".into()), "{word}");
        assert_eq!(model.prefer, if on { Prefer::Quantized } else { Prefer::Original }, "{word}");
    }
}

#[test]
fn the_older_names_give_way_to_the_newer() {
    let bench = Bench::new("")
        .variable(OLD_PATH, "old.onnx")
        .variable(OLD_USE, "true")
        .variable("EDGE_SERVICE__MODEL__QUANTIZED_PATH", "new.onnx")
        .variable("EDGE_SERVICE__MODEL__PREFER", "original");
    let model = bench.load().unwrap().config.model;
    assert_eq!(model.quantized_path, Some("new.onnx".into()));
    assert_eq!(model.prefer, Prefer::Original);
}

#[test]
fn an_empty_older_name_counts_as_unset() {
    let bench = Bench::new("model.prefer = 'quantized'").variable(OLD_PATH, "").variable(OLD_USE, "");
    let model = bench.load().unwrap().config.model;
    assert_eq!(model.quantized_path, None);
    assert_eq!(model.prefer, Prefer::Quantized);
    assert_eq!(Bench::new("").load().unwrap().config.model.prefer, Prefer::Qualified);
}

#[test]
fn a_model_on_the_command_line_switches_the_quantised_form_off() {
    let mut bench = Bench::new("model.prefer = 'quantized'\nmodel.quantized_path = 'file.onnx'")
        .variable(OLD_PATH, "old.onnx")
        .variable(OLD_USE, "perhaps");
    bench.overrides.model = Some("mine.onnx".into());
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.config.model.quantized_path, None);
    assert_eq!(loaded.config.model.prefer, Prefer::Original);
    assert!(!loaded.places.contains_key("model.quantized_path"));
}

#[test]
fn other_variables_are_left_alone_and_near_misses_are_named() {
    let bench = Bench::new("").variable("EDGE_SERVICE_COLOUR", "blue").variable("EDGE_SERVICE_SERVER_LISTEN", "[::]:1");
    assert_eq!(
        bench.load().unwrap().notices,
        ["the variable EDGE_SERVICE_SERVER_LISTEN is ignored; did you mean EDGE_SERVICE__SERVER__LISTEN?"]
    );
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let bench = Bench::new("\u{feff}[server]\r\nworkers = 4\r\n");
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.config.server.workers, 4);
    assert_eq!(loaded.places["server.workers"], Place::File { path: bench.file(), line: 2, column: 0 });
}

#[test]
fn a_rule_of_which_one_key_is_set_keeps_its_own_defaults_for_the_rest() {
    let loaded = Bench::new("[alerts.rules.memory]\nraise_above = 90.0\n").load().unwrap();
    let memory = &loaded.config.alerts.rules.memory;
    assert_eq!((memory.raise_above, memory.clear_below), (90.0, 80.0));
    let rules = loaded.config.alerts.rules();
    assert_eq!(rules[&RuleName::Memory].consecutive, 3);
}

#[test]
fn a_rule_is_tuned_by_the_environment_too() {
    let loaded = Bench::new("").variable("EDGE_SERVICE__ALERTS__RULES__CPU__RAISE_ABOVE", "95").load().unwrap();
    assert_eq!(loaded.config.alerts.rules.cpu.raise_above, 95.0);
}
