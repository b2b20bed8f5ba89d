//! What is said of a configuration that is wrong.

use std::path::Path;

use proptest::prelude::*;

use super::super::{Environment, Overrides, load_from};
use super::Bench;

#[test]
fn ten_mistakes_are_ten_lines() {
    let bench = Bench::new(
        r#"[server]
listne = "127.0.0.1:8080"
workers = 0
name = 5
max_body_bytes = 1_000_000_000

[model]
version = "one"
canary_seconds = nan
top_k = "many"
spinning = "yes"
sha256 = "abc"

[log]
format = "xml"
"#,
    );
    assert_eq!(
        bench.problems(),
        [
            "edge.toml:2: server.listne: unknown key; did you mean server.listen?",
            "edge.toml:3: server.workers: 0 is out of range: expected 1 to 256",
            "edge.toml:4: server.name: expected text in quotes, found 5",
            "edge.toml:5: server.max_body_bytes: 1000000000 is more than server.max_body_memory_bytes, 536870912: \
             such a body could never be read; lower this one or raise that one",
            "edge.toml:8: model.version: \"one\" is not a version: expected 1 to 18 digits",
            "edge.toml:9: model.canary_seconds: NaN is out of range: expected 0 (off), or 0.05 to 86400",
            "edge.toml:10: model.top_k: expected a whole number, found the text \"many\"",
            "edge.toml:11: model.spinning: expected true or false, found the text \"yes\"",
            "edge.toml:12: model.sha256: \"abc\" is not a SHA-256: expected 64 hexadecimal digits, as sha256sum writes",
            "edge.toml:15: log.format: \"xml\" is not accepted: unknown variant `xml`, expected `text` or `json`",
        ]
    );
}

#[test]
fn every_layer_reports_in_one_go() {
    let mut bench = Bench::new("server.wrokers = 3\nmodel.queue_limit = -1")
        .variable("EDGE_SERVICE__SERVER__WORKERS", "three")
        .variable("EDGE_SERVICE__MODLE__TOP_K", "3")
        .variable("EDGE_SERVICE__MODEL__CANARY_TOLERANCE", "inf")
        .variable("EDGE_SERVICE_USE_QUANTIZED_MODEL", "perhaps");
    bench.overrides.listen = Some("localhost:8080".to_owned());
    bench.overrides.name = Some("a/b".to_owned());
    assert_eq!(
        bench.problems(),
        [
            "edge.toml:1: server.wrokers: unknown key; did you mean server.workers?",
            "edge.toml:2: model.queue_limit: -1 is out of range: expected a whole number from 0",
            "EDGE_SERVICE_USE_QUANTIZED_MODEL: model.prefer: expected true or false, found \"perhaps\"",
            "EDGE_SERVICE__MODEL__CANARY_TOLERANCE: model.canary_tolerance: inf is out of range: expected 0 to 1",
            "EDGE_SERVICE__MODLE__TOP_K: unknown variable; did you mean EDGE_SERVICE__MODEL__TOP_K?",
            "EDGE_SERVICE__SERVER__WORKERS: server.workers: expected a whole number, found the text \"three\"",
            "--listen: server.listen: \"localhost:8080\" is no address: expected an IP address and a port, \
             such as 127.0.0.1:8080 or [::]:8080",
            "--name: model.name: \"a/b\" holds a slash, which a part of an address cannot",
        ]
    );
}

/// (one line of TOML, what is said of it after the place)
const MISTAKES: &[(&str, &str)] = &[
    ("[sever]", "[sever]: unknown section; did you mean [server]?"),
    ("listen = '[::]:1'", "listen: unknown key; did you mean server.listen?"),
    ("server.queue_limit = 1", "server.queue_limit: unknown key; did you mean model.queue_limit?"),
    ("server.zzz = 1", "server.zzz: unknown key; the nearest that exists is "),
    ("server.\"a\\nb\" = 1", "server.\"a\\nb\": unknown key; the nearest that exists is "),
    ("\"a[9999999999]\" = 1", "\"a[9999999999]\": unknown key; the nearest that exists is "),
    ("server = 3", "server: is a section: write [server] on a line of its own and its keys below"),
    ("[[server]]", "server: is a section: write [server] on a line of its own and its keys below"),
    ("server.listen = [1]", "server.listen: expected text in quotes, found a list or a table"),
    ("server.listen.port = 1", "server.listen: expected text in quotes, found a list or a table"),
    ("server.name = 2020-01-01", "server.name: expected no date (found 2020-01-01); put text in quotes"),
    ("server.workers = 2.5", "server.workers: expected a whole number, found 2.5"),
    ("server.workers = 99999999999999999999", "server.workers: 99999999999999999999 is too large a number"),
    ("server.restart_budget = 5_000_000_000", "server.restart_budget: 5000000000 is too large"),
    ("log.level = 'inof'", "log.level: \"inof\" is no level: expected one of error, warn, info, debug, trace, off"),
    (
        "model.default_timeout_ms = 400_000",
        "model.default_timeout_ms: 400000 is more than model.max_timeout_ms, 300000",
    ),
    ("model.max_timeout_ms = 1000", "model.default_timeout_ms: 30000 is more than model.max_timeout_ms, 1000"),
    ("model.top_k =", "not valid TOML: "),
    ("model.top_k = 1 2", "not valid TOML: "),
];

#[test]
fn each_mistake_has_its_line() {
    for (text, said) in MISTAKES {
        let problems = Bench::new(&format!("# a comment\n{text}\n")).problems();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let (place, message) = problems[0].split_once(": ").unwrap();
        assert!(place == "edge.toml:2" || place.starts_with("edge.toml:2:"), "{text}: {place}");
        assert!(message.starts_with(said), "{text}: {message}");
    }
}

#[test]
fn a_syntax_error_has_its_line_and_column_and_hides_nothing_else() {
    let bench = Bench::new("[server]\nworkers = \"two\nname = ''\nlistne = 1\nname = 'again'\n")
        .variable("EDGE_SERVICE__MODEL__TOP_K", "0");
    assert_eq!(
        bench.problems(),
        [
            "edge.toml:2:15: not valid TOML: invalid basic string, expected `\"`",
            "edge.toml:3: server.name: is empty; give a name, or leave the key out",
            "edge.toml:4: server.listne: unknown key; did you mean server.listen?",
            "edge.toml:5:1: not valid TOML: duplicate key",
            "EDGE_SERVICE__MODEL__TOP_K: model.top_k: 0 is out of range: expected 1 to 10000",
        ]
    );
}

#[test]
fn a_line_that_is_no_setting_does_not_take_the_next_one_with_it() {
    let bench = Bench::new("[server]\nworkers 3\nname = ''\nkeep alive\nlistne = 1\nstate_directory = /var/lib/x\n");
    assert_eq!(
        bench.problems(),
        [
            "edge.toml:2:9: not valid TOML: key with no value, expected `=`",
            "edge.toml:3: server.name: is empty; give a name, or leave the key out",
            "edge.toml:4:6: not valid TOML: key with no value, expected `=`",
            "edge.toml:5: server.listne: unknown key; did you mean server.listen?",
            "edge.toml:6:19: not valid TOML: string values must be quoted, expected literal string",
        ]
    );
}

#[test]
fn a_file_of_another_kind_is_refused_soon_and_not_at_length() {
    for line in ["a\n", "a=1\n", "[a]\n", "= = =\n", "\"\n"] {
        let started = std::time::Instant::now();
        let problems = Bench::new(&line.repeat(100_000 / line.len())).problems();
        assert!(problems.len() <= 201, "{line:?}: {}", problems.len());
        assert!(started.elapsed().as_secs() < 20, "{line:?}: {:?}", started.elapsed());
    }
}

#[test]
fn a_wrong_value_is_not_held_against_another_key() {
    let bench = Bench::new("model.max_timeout_ms = 'long'\nmodel.default_timeout_ms = 400_000");
    assert_eq!(
        bench.problems(),
        ["edge.toml:1: model.max_timeout_ms: expected a whole number, found the text \"long\""]
    );
}

fn said_of(path: &Path) -> (String, u8) {
    let overrides = Overrides { config: Some(path.to_owned()), ..Overrides::default() };
    let errors = load_from(&overrides, &Environment::new(), Path::new("/nonexistent")).unwrap_err();
    (errors.to_string().replace(&format!("{}", path.display()), "PATH"), errors.exit_code())
}

#[test]
fn a_file_that_cannot_be_read_is_one_line_and_exit_code_66() {
    let folder = tempfile::tempdir().unwrap();
    let missing = "PATH: no such file; correct --config, or leave it out".to_owned();
    assert_eq!(said_of(&folder.path().join("none.toml")), (missing, 66));
    assert_eq!(said_of(folder.path()), ("PATH: is a directory; name the TOML file in it".to_owned(), 66));
    let (endless, code) = said_of(Path::new("/dev/zero"));
    assert_eq!((endless.as_str(), code), ("PATH: is larger than 1048576 bytes; is it a configuration file?", 66));
}

#[test]
fn a_missing_file_does_not_hide_what_is_wrong_with_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = Overrides { config: Some(folder.path().join("none.toml")), ..Overrides::default() };
    let environment = Environment::from([("EDGE_SERVICE__LOG__LEVEL".to_owned(), String::new())]);
    let errors = load_from(&overrides, &environment, Path::new("/nonexistent")).unwrap_err();
    assert_eq!(errors.0.len(), 2);
    assert_eq!(errors.exit_code(), 66);
}

#[test]
fn a_file_that_is_not_utf8_is_named_with_its_line() {
    let bench = Bench::bytes(b"[server]\nname = \"caf\xe9\"\n");
    assert_eq!(bench.problems(), ["edge.toml:2: is not UTF-8; save the file as UTF-8"]);
    assert_eq!(bench.load().unwrap_err().exit_code(), 78);
}

#[test]
fn long_values_are_cut_and_a_problem_is_one_line() {
    let bench = Bench::new(&format!("server.listen = \"\"\"\n{}\"\"\"\n", "x\n".repeat(500)));
    let problems = bench.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].len() < 300, "{}", problems[0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_read_or_refused_but_never_panics(text in ".{0,200}") {
        let _ = Bench::new(&text).load();
    }

    #[test]
    fn any_value_of_any_key_is_read_or_refused(
        section in "server|model|log|\"\"|a",
        key in "[a-z_]{1,10}|listen|workers|top_k|level|path|sha256|canary_seconds|\"\\PC{0,5}\"",
        value in "-?[0-9]{1,25}|nan|-inf|true|\"\\PC{0,20}\"|\\[\\]|\\{\\}|1979-05-27|\\PC{0,10}",
    ) {
        let text = format!("{section}.{key} = {value}");
        if let Err(errors) = Bench::new(&text).load() {
            prop_assert!(!errors.0.is_empty());
            prop_assert_eq!(errors.to_string().lines().count(), errors.0.len());
        }
    }

    #[test]
    fn any_variable_is_read_or_refused(key in "[A-Z_]{0,12}|LISTEN|WORKERS|NAME", value in "\\PC{0,20}|[0-9.e-]{1,9}") {
        let bench = Bench::new("").variable(&format!("EDGE_SERVICE__SERVER__{key}"), &value);
        let _ = bench.load();
    }
}
