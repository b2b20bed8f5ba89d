//! Given a quantised form, the box finds out whether it is right and faster before it prefers it, and takes it back where
//! it does worse.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::fake_box::{FakeBox, samples};
use crate::harness::{Daemon, Setup, repository};

/// A file that `make fixtures` has made.
pub fn variant(name: &str) -> PathBuf {
    let path = repository("target/fixtures/variants").join(name);
    assert!(path.exists(), "{} is not there: run `make fixtures`", path.display());
    path
}

/// A folder with the original, `net.onnx`, to which a quantised form may be added; and a state directory beside it.
pub struct House(tempfile::TempDir);

impl House {
    pub fn new() -> House {
        let house = House(tempfile::tempdir().unwrap());
        house.put("original.onnx", "net.onnx");
        house
    }

    pub fn with(candidate: &str) -> House {
        let house = House::new();
        house.put(&format!("{candidate}.onnx"), "net_int8.onnx");
        house
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, from: &str, to: &str) {
        std::fs::copy(variant(from), self.path(to)).unwrap();
    }

    /// A daemon with real frames, which keeps its state here.
    pub fn setup(&self) -> Setup {
        self.without_frames().set("model.qualify.samples", variant("frames.npz").display())
    }

    pub fn without_frames(&self) -> Setup {
        Setup::default()
            .set("model.path", self.path("net.onnx").display())
            .set("server.state_directory", self.path("state").display())
    }

    pub fn state(&self, file: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("state").join(file)).unwrap()).unwrap()
    }

    /// `edge-service qualify` on the files here, by the daemon's own settings.
    pub fn qualify(&self, args: &[&str]) -> (i32, String, String) {
        args.iter().fold(self.setup(), |setup, arg| setup.arg(arg)).run("qualify")
    }
}

fn frame() -> Value {
    json!({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": vec![0.25; 64]}]})
}

pub fn ask(daemon: &Daemon) -> u16 {
    daemon.infer("net", &frame()).status
}

pub fn asks(daemon: &Daemon, count: usize) {
    (0..count).for_each(|_| assert_eq!(ask(daemon), 200));
}

pub fn status(daemon: &Daemon) -> Value {
    daemon.get("/api/v1/monitoring/status").json()
}

pub fn state(daemon: &Daemon) -> String {
    status(daemon)["qualification"]["state"].as_str().unwrap().to_owned()
}

pub fn serves(daemon: &Daemon) -> String {
    status(daemon)["model"]["variant"].as_str().unwrap_or("nothing").to_owned()
}

pub fn wait_state(daemon: &Daemon, wanted: &str) {
    daemon.wait_until(wanted, |daemon| state(daemon) == wanted);
}

pub fn wait_serves(daemon: &Daemon, wanted: &str) {
    daemon.wait_until(wanted, |daemon| serves(daemon) == wanted);
}

#[test]
fn one_that_is_right_and_faster_takes_the_originals_place_and_no_request_fails() {
    let house = House::with("faster");
    let daemon = house.setup().ready();
    let (over, answered, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let counter = if ask(&daemon) == 200 { &answered } else { &refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let swapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_serves(&daemon, "quantized");
            let so_far = answered.load(Ordering::Relaxed);
            daemon.wait_until("requests after it", |_| answered.load(Ordering::Relaxed) > so_far + 20);
        }));
        over.store(true, Ordering::Relaxed);
        swapped.unwrap();
    });
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    let loads: Vec<bool> =
        daemon.log.exactly("model_ready", 2).iter().map(|line| line["quantized"].as_bool().unwrap()).collect();
    assert_eq!(loads, [false, true], "the original serves first");
    let told = status(&daemon);
    let reason = told["model"]["variant_reason"].as_str().unwrap();
    assert!(reason.starts_with("qualified on this box: it agrees to 100.00 % on 64 frames"), "{reason}");
    let found = &told["qualification"];
    assert_eq!((&found["state"], &found["frames"], &found["agreement"]), (&"accepted".into(), &64.into(), &1.0.into()));
    assert!(found["speedup"]["low"].as_f64().unwrap() > 1.05, "{found}");
    assert!(
        found["threads"].as_u64().unwrap() <= (std::thread::available_parallelism().unwrap().get() as u64 / 2).max(1)
    );
    assert_eq!(daemon.metric("model_variant_active{variant=\"quantized\"}"), 1.0);
    assert_eq!(daemon.metric("model_variant_active{variant=\"original\"}"), 0.0);
    assert_eq!((daemon.metric("model_qualified"), daemon.metric("model_qualification_agreement")), (1.0, 1.0));
    assert!(daemon.metric("model_qualification_speedup_ratio{bound=\"low\"}") > 1.05);
    assert_eq!(daemon.log.exactly("qualified", 1)[0]["verdict"], "accepted");
    assert_eq!(house.state("qualification.json")["version"], 1);
}

#[test]
fn one_that_is_wrong_or_slower_or_fails_stays_out_and_it_is_said_why() {
    let cases = [
        (
            "wrong",
            "refused",
            "it agrees to 0.00 % (the same best class in 0 of 64 rows, and scores whose normalised error is 1.4",
        ),
        ("slower", "refused", "and the lower end must reach 1.05"),
        ("failing", "refused", "frames that the original answers"),
        ("seen", "unproven", "on 8 real frames, 56 that quantising used left out, and 32 are asked for"),
        ("other", "unmeasured", "it has no input 'x'"),
    ];
    for (candidate, wanted, words) in cases {
        let house = House::with(candidate);
        let daemon = house.setup().ready();
        wait_state(&daemon, wanted);
        let told = status(&daemon);
        let reason = told["model"]["variant_reason"].as_str().unwrap();
        assert!(reason.contains(words), "{candidate}: {reason}");
        assert_eq!((&told["model"]["variant"], ask(&daemon)), (&"original".into(), 200), "{candidate}");
        assert_eq!(daemon.metric("model_qualified"), 0.0);
        daemon.log.exactly("model_ready", 1);
    }
}

#[test]
fn a_second_start_goes_by_the_receipt_and_a_changed_file_is_measured_anew() {
    let house = House::with("faster");
    let daemon = house.setup().ready();
    wait_serves(&daemon, "quantized");
    daemon.stop();
    let again = house.setup().ready();
    assert_eq!(again.log.wait("model_ready")["quantized"], true);
    assert_eq!((serves(&again), again.log.of("qualified").len()), ("quantized".to_owned(), 0));
    // The same file by another name of the same contents is the same file; another one is not.
    house.put("wrong.onnx", "net_int8.onnx");
    assert_eq!(again.post("/v2/repository/models/net/load", b"").status, 200);
    assert_eq!(serves(&again), "original");
    wait_state(&again, "refused");
    assert_eq!(again.log.exactly("qualified", 1)[0]["verdict"], "refused");
    again.stop();
    let third = house.setup().ready();
    assert_eq!((state(&third), serves(&third)), ("refused".to_owned(), "original".to_owned()));
    assert_eq!(third.log.of("qualified").len(), 0);
}

#[test]
fn a_receipt_that_cannot_be_read_is_set_aside_and_made_anew() {
    let house = House::with("wrong");
    std::fs::create_dir(house.path("state")).unwrap();
    std::fs::write(house.path("state").join("qualification.json"), "{").unwrap();
    let daemon = house.setup().ready();
    wait_state(&daemon, "refused");
    daemon.log.exactly("state_unreadable", 1);
    assert!(house.path("state").join("qualification.json.unreadable-1").exists());
    assert_eq!(house.state("qualification.json")["data"].as_array().unwrap().len(), 1);
}

#[test]
fn without_real_frames_it_is_measured_and_not_preferred() {
    let house = House::with("faster");
    let daemon = house.without_frames().ready();
    wait_state(&daemon, "unproven");
    let told = status(&daemon);
    let reason = told["model"]["variant_reason"].as_str().unwrap();
    assert!(reason.contains("made-up inputs only (there is no folder of frames)"), "{reason}");
    assert!(told["qualification"]["speedup"]["low"].as_f64().unwrap() > 1.05, "{told}");
    assert_eq!(serves(&daemon), "original");
}

#[test]
fn where_the_original_is_preferred_nothing_is_measured() {
    let house = House::with("faster");
    let daemon = house.setup().env("EDGE_SERVICE_USE_QUANTIZED_MODEL", "false").ready();
    asks(&daemon, 20);
    assert_eq!((state(&daemon), serves(&daemon)), ("off".to_owned(), "original".to_owned()));
    assert!(!house.path("state").join("qualification.json").exists());
    let refused = daemon.post("/api/v1/qualify", b"");
    assert_eq!((refused.status, refused.error().contains("model.prefer is original")), (400, true));
}

#[test]
fn by_the_users_rule_the_quantised_form_serves_whatever_it_does_and_an_alert_says_that_it_failed() {
    let house = House::with("wrong");
    let fake = FakeBox::new();
    let mut setup = house.setup().env("EDGE_SERVICE_USE_QUANTIZED_MODEL", "true");
    setup.environment.extend(fake.setup().environment);
    let daemon = setup.ready();
    assert_eq!(daemon.log.wait("model_ready")["quantized"], true);
    let fired = daemon.log.wait("alert");
    assert_eq!((&fired["alert"], &fired["severity"]), (&"quantized_unqualified".into(), &"warning".into()));
    samples(&daemon, 5);
    let told = status(&daemon);
    assert_eq!((&told["model"]["variant"], &told["qualification"]["state"]), (&"quantized".into(), &"refused".into()));
    let reason = told["model"]["variant_reason"].as_str().unwrap();
    assert!(reason.starts_with("preferred by model.prefer; the quantised form is refused: it agrees to 0"), "{reason}");
    assert_eq!(daemon.log.exactly("qualified", 1)[0]["level"], "WARN");
    assert_eq!((daemon.log.of("model_ready").len(), ask(&daemon)), (1, 200));
    assert_eq!(told["alerts"]["firing"][0]["alert"], "quantized_unqualified");
}

#[test]
fn by_the_users_rule_one_of_which_too_little_is_known_raises_no_alert() {
    let house = House::with("faster");
    let fake = FakeBox::new();
    let mut setup = house.without_frames().env("EDGE_SERVICE_USE_QUANTIZED_MODEL", "true");
    setup.environment.extend(fake.setup().environment);
    let daemon = setup.ready();
    wait_state(&daemon, "unproven");
    samples(&daemon, 10);
    assert_eq!((daemon.log.of("alert").len(), serves(&daemon)), (0, "quantized".to_owned()));
}

#[test]
fn an_engine_or_a_room_that_dies_is_back_with_the_form_in_force() {
    let house = House::with("faster");
    let daemon = house.setup().ready();
    wait_serves(&daemon, "quantized");
    daemon.panic_in("engine");
    daemon.wait_metric("actor_restarts_total{actor=\"engine\"}", 1.0);
    daemon.wait_ready();
    assert_eq!(
        (daemon.log.wait_for("model_ready", 3)[2]["quantized"].clone(), serves(&daemon)),
        (true.into(), "quantized".to_owned())
    );
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.wait_ready();
    asks(&daemon, 5);
    assert_eq!((serves(&daemon), state(&daemon)), ("quantized".to_owned(), "accepted".to_owned()));
}

#[test]
fn a_room_that_dies_while_the_form_is_measured_has_it_measured_all_the_same() {
    let house = House::with("faster");
    let daemon = house.setup().ready();
    daemon.panic_in("model");
    wait_serves(&daemon, "quantized");
}

#[test]
fn a_stop_while_it_is_measured_is_obeyed_at_once() {
    let house = House::with("slower");
    let daemon = house.setup().set("model.qualify.max_seconds", 3600).start();
    daemon.log.wait("model_ready");
    // The harness wants exit code 0 and every thread joined.
    daemon.stop();
}

#[test]
fn the_command_measures_each_candidate_and_leaves_the_receipt_for_the_daemon() {
    let house = House::with("faster");
    let (wrong, samples) = (variant("wrong.onnx"), variant("frames.npz"));
    let model = house.path("net.onnx");
    let (code, told, _) = house.qualify(&["--candidate", wrong.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(told.contains("verdict      refused") && told.contains("because      it agrees to 0"), "{told}");
    let both = house.path("net_int8.onnx");
    let (code, told, _) =
        house.qualify(&["--candidate", wrong.to_str().unwrap(), "--candidate", both.to_str().unwrap(), "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let verdicts: Vec<&Value> = told.as_array().unwrap().iter().map(|row| &row["verdict"]).collect();
    assert_eq!((code, verdicts), (1, vec![&"refused".into(), &"accepted".into()]));
    // `--model` names the original here too, and the form beside it is the one that is meant.
    let by_options = Setup::default()
        .set("server.state_directory", house.path("state").display())
        .arg("--model")
        .arg(model.to_str().unwrap())
        .arg("--samples")
        .arg(samples.to_str().unwrap());
    let (code, told, complaint) = by_options.run("qualify");
    assert_eq!(code, 0, "{told} {complaint}");
    assert!(told.contains("verdict      accepted") && told.contains("64 real"), "{told}");
    let daemon = house.setup().ready();
    assert_eq!((serves(&daemon), daemon.log.of("qualified").len()), ("quantized".to_owned(), 0));
}

#[test]
fn the_command_says_in_one_line_what_is_missing() {
    let house = House::new();
    let (code, told, complaint) = house.qualify(&[]);
    assert_eq!((code, told.as_str()), (66, ""));
    assert!(complaint.contains("name one with --candidate"), "{complaint}");
    let (code, _, complaint) = house.qualify(&["--candidate", "/nowhere.onnx"]);
    assert_eq!((code, complaint.lines().count()), (66, 1));
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let (code, told, _) = house.qualify(&["--candidate", text.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(told.contains("unmeasured") && told.contains("not an ONNX model"), "{told}");
}

#[test]
fn what_is_no_form_of_the_original_is_not_measured_whoever_asks() {
    let house = House::with("original");
    let words = "it was not quantised";
    let (code, told, complaint) = house.qualify(&[]);
    assert_eq!(code, 1, "{told} {complaint}");
    assert!(told.contains("verdict      unmeasured") && told.contains(words), "{told}");
    let daemon = house.setup().ready();
    assert_eq!((state(&daemon), daemon.post("/api/v1/qualify", b"").status), ("unusable".to_owned(), 202));
    wait_state(&daemon, "unmeasured");
    let reason = status(&daemon)["qualification"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(words), "{reason}");
    assert!(!house.path("state").join("qualification.json").exists());
}
