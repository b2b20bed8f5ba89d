//! Given the command line, each command does what the manual says, and ends with the exit code that it says.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Setup, model, repository};

/// The binary as a shell would call it, in a folder of its own and with nothing set.
fn bare(folder: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-service"));
    command.current_dir(folder).env_clear().env("HOME", folder).stdin(Stdio::null());
    command
}

/// An array of 32-bit floats as numpy writes it.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    file
}

#[test]
fn a_model_file_is_all_that_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = bare(folder.path())
        .args(["--model", model("mlp").to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    let mut until = |words: &str| {
        for line in log.by_ref() {
            seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
        panic!("no '{words}' in {seen:#?}");
    };
    // The log is text for people, without colours where it is no terminal.
    let runtime = until("ONNX Runtime 1.");
    assert!(runtime.contains(" INFO ") && runtime.contains(".so") && !runtime.contains('\u{1b}'), "{runtime}");
    let listening = until("listening on http://");
    let address = listening.rsplit("http://").next().unwrap().split(' ').next().unwrap().to_owned();
    assert!(until("is loaded and warm").contains("model 'mlp' from "));
    assert!(until("try: curl").contains(&format!("curl http://{address}/v2/models/mlp")));
    until("ready");
    let health = bare(folder.path()).args(["health", "--listen", &address]).output().unwrap();
    assert_eq!((health.status.code(), health.stdout.as_slice()), (Some(0), b"ready\n".as_slice()));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "");
}

#[test]
fn the_curl_line_names_a_sample_that_is_there() {
    let daemon = Setup::digits().ready();
    let line = daemon.log.wait("try")["message"].as_str().unwrap().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let sample = words.iter().find_map(|word| word.strip_prefix('@')).unwrap();
    let path = words.last().unwrap().strip_prefix(&format!("http://{}", daemon.address)).unwrap();
    assert_eq!(daemon.post(path, &std::fs::read(repository("").join(sample)).unwrap()).status, 200, "{line}");
}

#[test]
fn a_check_tells_what_would_be_served_and_starts_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("untouched");
    let setup = Setup::digits().set("server.listen", taken.local_addr().unwrap());
    let (code, out, told) = setup.set("server.state_directory", folder.display()).run("check");
    assert_eq!((code, told.as_str()), (0, ""));
    for words in
        ["configuration: defaults", "runtime: ONNX Runtime 1.", "model: digits from ", "inputs: image FP32", "ok\n"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!folder.exists());
}

#[test]
fn a_check_tells_all_that_is_wrong_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.toml");
    let text = "[server]\nlistne = \"127.0.0.1:1\"\nworkers = 0\n[model]\npath = \"nowhere.onnx\"\ntop_k = \"many\"\n\
                runtime_library = \"/nowhere.so\"\n";
    std::fs::write(&file, text).unwrap();
    let check = |setup: Setup| setup.arg("--config").arg(file.to_str().unwrap()).run("check");
    let (code, out, told) = check(Setup::default());
    assert_eq!((code, told.lines().count()), (78, 5), "{told}");
    assert!(!out.contains("ok"), "{out}");
    for words in [
        "edge.toml:2: server.listne",
        "edge.toml:3: server.workers",
        "model.top_k",
        "/nowhere.so",
        "nowhere.onnx: No such file",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // What is right is tried for good, beside a mistake elsewhere.
    let (code, out, told) =
        check(Setup::fixture("crashes_at_load").set("model.runtime_library", repository(".runtime").display()));
    assert_eq!(code, 78, "{told}");
    assert!(told.contains("crashes ONNX Runtime (signal 8)") && out.contains("runtime: ONNX Runtime"), "{out}{told}");
    // The model is not guessed where the file that may name it cannot be read.
    std::fs::write(&file, "[model\npath = \"mine.onnx\"").unwrap();
    let (code, out, told) = check(Setup::default());
    assert_eq!(code, 78, "{told}");
    assert!(told.contains("the model is not checked") && out.contains("runtime: "), "{out}{told}");
    let (code, out, told) = check(Setup::digits());
    assert_eq!(code, 78, "{told}");
    assert!(out.contains("model: digits"), "{out}{told}");
}

#[test]
fn a_check_of_each_thing_that_is_wrong_has_its_code() {
    let code = |setup: Setup| setup.run("check").0;
    assert_eq!(code(Setup::default().arg("--config").arg("/nowhere.toml")), 66);
    assert_eq!(code(Setup::default().model("/nowhere.onnx".as_ref())), 66);
    assert_eq!(code(Setup::fixture("not_onnx")), 65);
    assert_eq!(code(Setup::digits().set("model.runtime_library", "/nowhere.so")), 69);
    assert_eq!(code(Setup::digits().set("server.workers", "none")), 78);
}

#[test]
fn health_is_0_only_where_a_daemon_is_ready() {
    let daemon = Setup::digits().ready();
    let health = |address: &str| Setup::default().arg("--listen").arg(address).run("health");
    assert_eq!(health(&daemon.address.to_string()), (0, "ready\n".to_owned(), String::new()));
    let (code, out, told) = health("127.0.0.1:1");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(told.contains("no answer from 127.0.0.1:1"), "{told}");
    assert_eq!(daemon.post("/v2/repository/models/digits/unload", b"").status, 200);
    daemon.wait_until("unloaded", |daemon| daemon.get("/readyz").status == 503);
    let (code, _, told) = health(&daemon.address.to_string());
    assert_eq!(code, 1);
    assert!(told.contains("not ready: ") && told.lines().count() == 1, "{told}");
}

#[test]
fn infer_answers_pictures_as_text_and_as_json() {
    let samples = ["models/digits/samples/7-03.png", "models/digits/samples/3-03.png"];
    let samples: Vec<&str> = samples.into_iter().filter(|sample| repository(sample).exists()).collect();
    let all = samples.iter().fold(Setup::digits(), |setup, sample| setup.arg(sample));
    let (code, out, told) = all.clone().run("infer");
    assert_eq!((code, told.as_str()), (0, ""));
    assert!(out.starts_with("models/digits/samples/7-03.png (") && out.contains(" ms)"), "{out}");
    assert_eq!(out.lines().count(), samples.len() * 4, "{out}");
    let (code, out, _) = all.arg("--json").arg("--top-k").arg("2").run("infer");
    assert_eq!(code, 0);
    let answers: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), samples.len());
    assert_eq!(answers[0]["file"], samples[0]);
    assert_eq!(answers[0]["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(answers[0]["predictions"][0]["label"], "7");
    assert!(answers[0]["inference_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn infer_answers_arrays_and_goes_on_after_a_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.npy"), folder.path().join("bad.npy"));
    std::fs::write(&good, npy("(2, 3, 4)", &(0..24u8).map(f32::from).collect::<Vec<_>>())).unwrap();
    std::fs::write(&bad, "no array").unwrap();
    let setup = Setup::fixture("transpose").arg(bad.to_str().unwrap()).arg("/nowhere.npy").arg(good.to_str().unwrap());
    let (code, out, told) = setup.clone().arg("--json").run("infer");
    assert_eq!(code, 1);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 4, 3]));
    assert_eq!(answer["outputs"][0]["data"].as_array().unwrap()[..4], [0.0, 4.0, 8.0, 1.0]);
    let told: Vec<&str> = told.lines().collect();
    assert!(told.len() == 2 && told[0].contains("bad.npy: ") && told[1].contains("/nowhere.npy: No such"), "{told:?}");
    let (code, out, _) = setup.run("infer");
    assert!(code == 1 && out.contains("y FP32[2, 4, 3]"), "{out}");
    assert_eq!(Setup::fixture("crashes_at_load").arg(good.to_str().unwrap()).run("infer").0, 65);
}

#[test]
fn options_override_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.toml");
    std::fs::write(
        &file,
        "[server]\nname = \"box\"\nlisten = \"127.0.0.1:1\"\n[model]\npath = \"x.onnx\"\nname = \"y\"\n",
    )
    .unwrap();
    let daemon = Setup::fixture("mlp").arg("--config").arg(file.to_str().unwrap()).arg("--name").arg("other").ready();
    assert_eq!(daemon.get("/v2").json()["name"], "box");
    assert_eq!(daemon.get("/v2/models/other").json()["inputs"][0]["shape"], json!([-1, 64]));
}

#[test]
fn the_help_names_what_is_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let help = bare(folder.path()).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!(help.status.code(), Some(0));
    for word in ["run", "check", "health", "infer", "--config", "--model", "--name", "--listen"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("try-model"), "{text}");
    let version = bare(folder.path()).arg("--version").output().unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("edge-service 0."));
    assert_eq!(bare(folder.path()).arg("--modle").output().unwrap().status.code(), Some(2));
    let stray = bare(folder.path()).arg("try-model").output().unwrap();
    assert_eq!(stray.status.code(), Some(69), "without an order it does nothing");
}
