//! The limits of each key, and the model's name.

use super::super::{Config, check, model_name};

/// What is said of the defaults after a change: the keys.
fn refused(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    change(&mut config);
    check(&config).into_iter().map(|problem| problem.key).collect()
}

#[test]
fn the_defaults_are_within_the_limits() {
    assert_eq!(check(&Config::default()), []);
}

#[test]
fn numbers_that_are_none_are_refused_everywhere() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        let found = refused(|config| {
            config.server.client_timeout_seconds = number;
            config.server.keep_alive_seconds = number;
            config.server.shutdown_timeout_seconds = number;
            config.server.restart_window_seconds = number;
            config.model.load_timeout_seconds = number;
            config.model.canary_seconds = number;
            config.model.canary_tolerance = number;
            config.log.repeat_seconds = number;
        });
        assert_eq!(found.len(), 8, "{number}: {found:?}");
    }
}

#[test]
fn counts_have_a_least_and_a_most() {
    for number in [0, usize::MAX] {
        let found = refused(|config| {
            config.server.workers = number;
            config.server.max_connections = number;
            config.server.max_body_bytes = number;
            config.server.max_body_memory_bytes = number;
            config.server.restart_backoff_ms = number as u64;
            config.model.sessions = number;
            config.model.queue_limit = number;
            config.model.default_timeout_ms = number as u64;
            config.model.max_timeout_ms = number as u64;
            config.model.canary_timeout_ms = number as u64;
            config.model.max_image_pixels = number as u64;
            config.model.top_k = number;
        });
        assert_eq!(found.len(), 12, "{number}: {found:?}");
    }
    assert_eq!(refused(|config| config.model.threads = 1025), ["model.threads"]);
    assert_eq!(refused(|config| config.server.restart_budget = 1001), ["server.restart_budget"]);
}

#[test]
fn canaries_are_off_or_not_too_many() {
    for (seconds, fits) in [(0.0, true), (0.05, true), (86_400.0, true), (0.049, false), (86_401.0, false)] {
        assert_eq!(refused(|config| config.model.canary_seconds = seconds).is_empty(), fits, "{seconds}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused_once() {
    assert_eq!(refused(|config| config.model.max_timeout_ms = 29_999), ["model.default_timeout_ms"]);
    assert_eq!(refused(|config| config.server.max_body_memory_bytes = 1 << 20), ["server.max_body_bytes"]);
}

#[test]
fn names_versions_and_digests_have_their_form() {
    for name in ["", " x", "a\nb", "a/b", ".", "..", "\u{7f}", &"x".repeat(201)] {
        assert_eq!(refused(|config| config.model.name = Some(name.to_owned())), ["model.name"], "{name:?}");
    }
    assert!(refused(|config| config.model.name = Some("Ziffern 2.0 – größer".to_owned())).is_empty());
    for version in ["", "v1", "1.0", "-1", "１", &"1".repeat(19)] {
        assert_eq!(refused(|config| config.model.version = version.to_owned()), ["model.version"], "{version:?}");
    }
    for digest in ["", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
        assert_eq!(refused(|config| config.model.sha256 = Some(digest.to_owned())), ["model.sha256"], "{digest:?}");
    }
    assert!(refused(|config| config.model.sha256 = Some("aB3".repeat(21) + "0")).is_empty());
}

#[test]
fn paths_are_neither_empty_nor_impossible() {
    for path in ["".to_owned(), "a\0b".to_owned(), "x".repeat(4096)] {
        let found = refused(|config| {
            config.model.path = path.clone().into();
            config.model.quantized_path = Some(path.clone().into());
            config.model.runtime_library = Some(path.clone().into());
            config.server.state_directory = Some(path.clone().into());
        });
        assert_eq!(found.len(), 4, "{found:?}");
    }
}

#[test]
fn a_level_is_a_level() {
    for level in ["info", "WARN", "off", "info,edge_service::engine=debug", "warn,actix_web=error", "info,[span]=debug"]
    {
        assert!(refused(|config| config.log.level = level.to_owned()).is_empty(), "{level}");
    }
    for level in
        ["", " ", "inof", "info,edge_service", "edge_service=loud", "info,,warn", "info, warn", "info,[span", "="]
    {
        assert_eq!(refused(|config| config.log.level = level.to_owned()), ["log.level"], "{level}");
    }
}

#[test]
fn a_multicast_address_is_refused() {
    assert_eq!(refused(|config| config.server.listen = "224.0.0.1:80".parse().unwrap()), ["server.listen"]);
    assert!(refused(|config| config.server.listen = "[::]:0".parse().unwrap()).is_empty());
}

#[test]
fn a_model_is_named_after_its_file_or_its_folder() {
    let named = |path: &str| {
        model_name(&Config {
            model: super::super::ModelConfig { path: path.into(), ..Default::default() },
            ..Default::default()
        })
    };
    assert_eq!(named("models/digits/model.onnx"), "digits");
    assert_eq!(named("/opt/resnet50.int8.onnx"), "resnet50.int8");
    assert_eq!(named("model.onnx"), "model");
    assert_eq!(named("/model.onnx"), "model");
    assert_eq!(named("/"), "model");
    assert_eq!(named("../model.onnx"), "model");
    assert_eq!(named("a/ b\tc .onnx"), "b_c");
    assert_eq!(named(&format!("{}.onnx", "é".repeat(120))).len(), 200);
    let mut config = Config::default();
    config.model.name = Some("mine".to_owned());
    assert_eq!(model_name(&config), "mine");
}
