//! Given settings in several places, the one that counts is the one that the manual says; and what is wrong is told.

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup, model, repository};
use crate::quantized_files::marked;

fn log_lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({"message": line}))).collect()
}

/// A folder with a configuration file of this text, and a setup that names it.
fn configured(text: &str) -> (tempfile::TempDir, Setup) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.toml");
    std::fs::write(&file, text).unwrap();
    let setup = Setup::default().arg("--config").arg(file.to_str().unwrap());
    (folder, setup)
}

#[test]
fn the_file_gives_way_to_the_environment_and_that_to_the_command_line() {
    let text = format!(
        "[server]\nname = \"file\"\nworkers = 3\n[model]\npath = {:?}\nname = \"file\"\nversion = \"2\"\n",
        model("scalar")
    );
    let (_folder, setup) = configured(&text);
    let daemon =
        setup.set("server.name", "environment").set("model.name", "environment").arg("--name").arg("option").ready();
    assert_eq!(daemon.get("/v2").json()["name"], "environment");
    assert_eq!(daemon.get("/v2/models/option").json()["versions"], json!(["2"]));
    assert_eq!(daemon.get("/v2/models/environment").status, 404);
}

#[test]
fn ten_mistakes_are_ten_lines_and_nothing_starts() {
    let text = "[server]\nrestart_budget = 1001\nworkers = 0\nnmae = \"x\"\nmax_body_bytes = -1\nkeep_alive_seconds = \"long\"\n\
                [model]\nversion = \"one\"\nsha256 = \"abc\"\nsessions = 65\n[log]\nrepeat_seconds = -1\n[logs]\nlevel = \"info\"\n";
    let (_folder, setup) = configured(text);
    let (code, out, told) = setup.run("run");
    assert_eq!((code, out.as_str(), told.lines().count()), (78, "", 10), "{told}");
    for (line, words) in [
        (2, "server.restart_budget: 1001 is out of range"),
        (3, "server.workers: 0 is out of range"),
        (4, "server.nmae: unknown key; did you mean server.name?"),
        (5, "server.max_body_bytes: -1 is out of range"),
        (6, "server.keep_alive_seconds: expected a number"),
        (8, "model.version: \"one\" is not a version"),
        (9, "model.sha256: \"abc\" is not a SHA-256"),
        (10, "model.sessions: 65 is out of range"),
        (12, "log.repeat_seconds: -1 is out of range"),
        (13, "[logs]: unknown section; did you mean [log]?"),
    ] {
        assert!(told.contains(&format!("edge.toml:{line}: {words}")), "{line}: {words}: {told}");
    }
}

#[test]
fn a_variable_that_is_wrong_is_told_by_its_name() {
    let (code, _, told) =
        Setup::digits().set("server.listne", "x").set("model.top_k", "many").set("log.level", "loud").run("run");
    assert_eq!((code, told.lines().count()), (78, 3), "{told}");
    for words in [
        "EDGE_SERVICE__SERVER__LISTNE: unknown variable; did you mean EDGE_SERVICE__SERVER__LISTEN?",
        "EDGE_SERVICE__MODEL__TOP_K: model.top_k",
        "EDGE_SERVICE__LOG__LEVEL: log.level",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// Runs `check` in a folder with nothing of the repository's in it.
fn check_in(folder: &Path, args: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edge-service"));
    let output = command.arg("check").args(args).current_dir(folder).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap_or(-1), told)
}

#[test]
fn no_file_is_looked_for_in_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    for name in ["edge-service.toml", "config.toml", "config/edge-service.toml", ".edge-service.toml"] {
        std::fs::write(folder.path().join(name), "wrong = true").unwrap();
    }
    let (code, told) = check_in(folder.path(), &["--model", model("scalar").to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn relative_paths_start_at_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    std::fs::write(folder.path().join("config/edge.toml"), "[model]\npath = \"models/it.onnx\"\n").unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    std::fs::copy(model("scalar"), folder.path().join("models/it.onnx")).unwrap();
    let (code, told) = check_in(folder.path(), &["--config", "config/edge.toml"]);
    assert!(code == 0 && told.contains("model: it from models/it.onnx"), "{told}");
}

#[test]
fn the_pinned_hash_holds_at_start_and_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::copy(model("scalar"), &path).unwrap();
    let (_, out, _) = Setup::default().model(&path).run("check");
    let pin = out.split("SHA-256 ").nth(1).unwrap()[..64].to_owned();
    let (code, _, log) = Setup::default().model(&path).set("model.sha256", "0".repeat(64)).run("run");
    assert_eq!(code, 65);
    let errors = log_lines(&log);
    let error = errors.iter().find(|line| line["level"] == "ERROR").unwrap()["message"].as_str().unwrap();
    assert!(error.contains(&pin) && error.contains("model.sha256"), "{error}");
    let daemon = Setup::default().model(&path).set("model.sha256", pin.to_uppercase()).ready();
    std::fs::copy(model("identity_fp32"), &path).unwrap();
    assert_eq!(daemon.post("/v2/repository/models/m/load", b"").status, 400);
    assert!(daemon.log.wait("load_failed")["message"].as_str().unwrap().contains("model.sha256"));
    assert_eq!(daemon.get("/v2/models/m").json()["inputs"][0]["shape"], json!([]));
    std::fs::copy(model("scalar"), &path).unwrap();
    assert_eq!(daemon.post("/v2/repository/models/m/load", b"").status, 200);
}

const QUANTIZED: &str = "EDGE_SERVICE_QUANTIZED_MODEL_PATH";
const USE: &str = "EDGE_SERVICE_USE_QUANTIZED_MODEL";

/// Whether the quantised form is served, and the warnings.
fn quantised(daemon: &Daemon) -> (bool, Vec<Value>) {
    let ready = daemon.log.wait("model_ready");
    let warnings = daemon.log.all().into_iter().filter(|line| line["level"] == "WARN" && line["event"] != "not_ready");
    (ready["quantized"].as_bool().unwrap(), warnings.collect())
}

/// The shipped model without `--model`, which would switch the quantised form off.
fn original() -> Setup {
    Setup::default().set("model.path", repository("models/digits/model.onnx").display())
}

#[test]
fn the_quantised_form_is_served_where_it_is_wanted_and_loads() {
    let folder = tempfile::tempdir().unwrap();
    // What it would be: the same inputs and outputs in another file, with its model.toml.
    for file in ["model.toml", "labels.txt", "samples"] {
        let from = repository("models/digits").join(file);
        if from.exists() {
            std::os::unix::fs::symlink(from, folder.path().join(file)).unwrap();
        }
    }
    let path = marked(&folder.path().join("model.onnx"), "made", "by hand");
    let daemon = original().env(QUANTIZED, path.to_str().unwrap()).env(USE, "true").ready();
    assert_eq!(quantised(&daemon), (true, vec![]));
    assert_eq!(daemon.log.wait("model_ready")["path"], path.to_str().unwrap());
    let unwanted = original().env(QUANTIZED, path.to_str().unwrap()).env(USE, "false").ready();
    assert_eq!(quantised(&unwanted), (false, vec![]));
    let overridden = Setup::digits().env(QUANTIZED, path.to_str().unwrap()).env(USE, "true").ready();
    assert_eq!(quantised(&overridden), (false, vec![]));
}

#[test]
fn the_original_is_served_with_one_warning_where_the_quantised_form_cannot_be() {
    let cases = [
        (None, "model.quantized_path is not"),
        (Some("/nowhere.int8.onnx".to_owned()), "/nowhere.int8.onnx: No such file"),
        (Some(model("not_onnx").display().to_string()), "not an ONNX model"),
        (Some(model("crashes_at_load").display().to_string()), "signal 8"),
    ];
    // Alone in its folder: nothing lies beside it that could be its quantised form.
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("model.onnx");
    std::fs::copy(repository("models/digits/model.onnx"), &original).unwrap();
    for (path, words) in cases {
        let mut setup = Setup::default().set("model.path", original.display()).env(USE, "true");
        if let Some(path) = &path {
            setup = setup.env(QUANTIZED, path);
        }
        let daemon = setup.ready();
        let (is_quantised, warnings) = quantised(&daemon);
        assert!(!is_quantised && warnings.len() == 1, "{path:?}: {warnings:#?}");
        let warning = warnings[0]["message"].as_str().unwrap();
        assert!(warning.starts_with("the original model is served: ") && warning.contains(words), "{warning}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_once_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let setup = Setup::fixture("scalar").set("log.level", "info,edge_service=debug");
    let daemon = setup.set("server.state_directory", folder.path().join("file/below").display()).ready();
    for _ in 0..2 {
        assert_eq!(daemon.post("/v2/repository/models/scalar/load", b"").status, 200);
    }
    // What has passed its trial is known for as long as the daemon lives.
    daemon.log.exactly("model_tried", 1);
    let log = daemon.stop();
    let told: Vec<&Value> = log.iter().filter(|line| line.to_string().contains("file/below")).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["level"], "WARN");
}

#[test]
fn a_port_in_use_ends_the_start_with_71() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, out, log) = Setup::digits().arg("--listen").arg(&address).run("run");
    let lines = log_lines(&log);
    assert_eq!((code, out.as_str(), lines.len()), (71, "", 1), "{log}");
    let message = lines[0]["message"].as_str().unwrap();
    assert!(message.contains(&address) && message.contains("server.listen"), "{message}");
}

#[test]
fn the_log_is_text_or_json_and_holds_every_panic() {
    let daemon = Setup::digits().ready();
    assert_eq!(daemon.post("/test/panic/model", b"").status, 202);
    let panic = daemon.log.wait("panic");
    assert_eq!(panic["level"], "ERROR");
    assert!(panic["place"].as_str().unwrap().contains(".rs:") && panic["thread"].is_string(), "{panic}");
    daemon.wait_ready();
    for line in daemon.stop() {
        assert!(line.is_object() && line["message"].is_string() && line["event"].is_string(), "{line}");
    }
    let (_, _, text) = Setup::fixture("not_onnx").set("log.format", "text").run("run");
    assert!(text.contains("ERROR") && !text.contains('{') && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn every_answer_has_a_request_id() {
    let daemon = Setup::digits().ready();
    let given = |path: &str| daemon.send("GET", path, &[("X-Request-Id", "mine-7")], b"");
    for path in ["/v2", "/nowhere", "/v2/models/none", "/metrics"] {
        assert_eq!(given(path).header("x-request-id"), Some("mine-7"), "{path}");
        let (one, other) = (daemon.get(path), daemon.get(path));
        let id = one.header("x-request-id").unwrap();
        assert!(!id.is_empty() && Some(id) != other.header("x-request-id"), "{path}");
    }
    for odd in ["", "with space", &"x".repeat(129)] {
        let answer = daemon.send("GET", "/v2", &[("X-Request-Id", odd)], b"");
        assert!(answer.status == 200 && answer.header("x-request-id") != Some(odd), "{odd}");
    }
}
