//! A daemon of its own for every test: started on a free port, stopped by SIGTERM, and seen to have left whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Ten times what anything here should take, on a box that builds something else meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A small model that `make fixtures` has made.
pub fn model(name: &str) -> PathBuf {
    let path = repository("target/fixtures/models").join(format!("{name}.onnx"));
    assert!(path.exists(), "{} is not there: run `make fixtures`", path.display());
    path
}

/// How a daemon is started; the rest has its defaults, the log is JSON, and the state lies in a folder of its own.
#[derive(Clone, Default)]
pub struct Setup {
    pub args: Vec<String>,
    pub environment: BTreeMap<String, String>,
    one_core: bool,
    /// The words before the binary that give it a state directory on a disk of its own.
    small_disk: Vec<String>,
}

impl Setup {
    /// Serves the shipped model.
    pub fn digits() -> Setup {
        Setup::default().model(&repository("models/digits/model.onnx"))
    }

    /// Serves a model that `make fixtures` has made, under its own name.
    pub fn fixture(name: &str) -> Setup {
        Setup::default().model(&model(name))
    }

    /// Serves this file.
    pub fn model(self, path: &Path) -> Setup {
        self.arg("--model").arg(path.to_str().unwrap())
    }

    /// One more word on the command line.
    pub fn arg(mut self, arg: &str) -> Setup {
        self.args.push(arg.to_owned());
        self
    }

    /// A key of the configuration, such as `model.queue_limit`.
    pub fn set(self, key: &str, value: impl ToString) -> Setup {
        let name = format!("EDGE_SERVICE__{}", key.to_uppercase().replace('.', "__"));
        self.env(&name, &value.to_string())
    }

    /// A variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Allows the daemon one core.
    pub fn on_one_core(mut self) -> Setup {
        self.one_core = true;
        self
    }

    /// Puts the state on a disk of 64 KiB; `None` where this user may mount none.
    pub fn on_a_small_disk(mut self) -> Option<Setup> {
        const MOUNT: &str = "mount -t tmpfs -o size=64k edge-test \"$STATE_DIRECTORY\"";
        for space in ["-m", "-rm"] {
            let place = tempfile::tempdir().unwrap();
            let mut tried = Command::new("unshare");
            tried.args([space, "sh", "-c", MOUNT]).env("STATE_DIRECTORY", place.path()).stderr(Stdio::null());
            if tried.status().is_ok_and(|status| status.success()) {
                let script = format!("{MOUNT} && exec \"$0\" \"$@\"");
                self.small_disk = ["unshare", space, "sh", "-c", &script].map(str::to_owned).into();
                return Some(self);
            }
        }
        None
    }

    fn command(&self, command: &str, state: &Path) -> Command {
        let binary = env!("CARGO_BIN_EXE_edge-service");
        let before =
            if self.one_core { ["taskset", "-c", "0"].map(str::to_owned).into() } else { self.small_disk.clone() };
        let mut words = before.into_iter().chain([binary.to_owned()]);
        let mut process = Command::new(words.next().unwrap());
        process.args(words).arg(command).args(&self.args);
        if command == "run" && !self.args.iter().any(|arg| arg == "--listen") {
            process.args(["--listen", "127.0.0.1:0"]);
        }
        process.env("STATE_DIRECTORY", state).env("EDGE_SERVICE__LOG__FORMAT", "json");
        process.envs(&self.environment).current_dir(repository(""));
        process
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(self) -> Daemon {
        let state = tempfile::tempdir().unwrap();
        let mut child = self.command("run", state.path()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let mut daemon = Daemon { child, log, address: SocketAddr::from(([127, 0, 0, 1], 0)), state, left: false };
        let listening = daemon.log.wait("listening");
        daemon.address = listening["address"].as_str().unwrap().parse().unwrap();
        daemon
    }

    /// Starts the daemon and waits until it is ready.
    pub fn ready(self) -> Daemon {
        let daemon = self.start();
        daemon.wait_ready();
        daemon
    }

    /// Runs a command of the binary to its end: exit code, standard output, standard error.
    pub fn run(self, command: &str) -> (i32, String, String) {
        let state = tempfile::tempdir().unwrap();
        let mut process = self.command(command, state.path());
        let child = process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let (ended, watch) = std::sync::mpsc::channel::<()>();
        let watcher = std::thread::spawn(move || {
            if watch.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watcher.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

/// The lines that a daemon has logged so far.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    read: Vec<Value>,
    ended: bool,
}

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let lines = Arc::clone(&log.lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.0.lock().unwrap().read.push(line);
                lines.1.notify_all();
            }
            lines.0.lock().unwrap().ended = true;
            lines.1.notify_all();
        });
        log
    }

    /// Every line so far.
    pub fn all(&self) -> Vec<Value> {
        self.lines.0.lock().unwrap().read.clone()
    }

    /// The lines of one event so far.
    pub fn of(&self, event: &str) -> Vec<Value> {
        self.all().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// The lines of one event, once there are so many; there must be no more.
    pub fn exactly(&self, event: &str, count: usize) -> Vec<Value> {
        self.wait_for(event, count);
        let found = self.of(event);
        assert_eq!(found.len(), count, "{found:?}");
        found
    }

    /// The first line of this event, once it is there.
    pub fn wait(&self, event: &str) -> Value {
        self.wait_for(event, 1).pop().unwrap()
    }

    /// `count` lines of this event, once they are there.
    pub fn wait_for(&self, event: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().unwrap();
        loop {
            let found: Vec<Value> = lines.read.iter().filter(|line| line["event"] == event).cloned().collect();
            if found.len() >= count {
                return found;
            }
            assert!(!lines.ended, "the daemon left without {count} × '{event}': {:#?}", lines.read);
            assert!(Instant::now() < deadline, "no {count} × '{event}' in {PATIENCE:?}: {:#?}", lines.read);
            lines = self.lines.1.wait_timeout(lines, Duration::from_millis(100)).unwrap().0;
        }
    }
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    pub log: Log,
    pub address: SocketAddr,
    pub state: tempfile::TempDir,
    left: bool,
}

/// An answer with its status, headers and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The `error` of an error's body, which holds nothing else.
    pub fn error(&self) -> String {
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json["error"].as_str().unwrap().to_owned()
    }

    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Daemon {
    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// One request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
        Answer { status: response.status().as_u16(), headers, body }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[], body)
    }

    /// A JSON inference on the model of this name.
    pub fn infer(&self, model: &str, request: &Value) -> Answer {
        self.post(&format!("/v2/models/{model}/infer"), request.to_string().as_bytes())
    }

    /// A connection for bytes that no client library would send.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends raw bytes and reads until the daemon closes; `Connection: close` is the caller's to send.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until `holds`, which is asked every few milliseconds.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Daemon) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}; {:#?}", self.log.all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn wait_ready(&self) {
        self.wait_until("ready", |daemon| daemon.get("/v2/health/ready").status == 200);
    }

    /// The value of a metric's line, such as `inference_requests_total{model="digits",outcome="ok"}`; 0 where it is
    /// not there.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").text();
        let found = text.lines().find_map(|other| other.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to leave by itself.
    pub fn wait_exit(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.left = true;
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "did not leave in {PATIENCE:?}: {:#?}", self.log.all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The exit code, if the process leaves by itself in this time.
    pub fn exited_within(&mut self, time: Duration) -> Option<i32> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.left = true;
                return Some(status.code().unwrap_or(-1));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// SIGTERM, exit code 0, every thread joined.
    pub fn stop(mut self) -> Vec<Value> {
        self.stop_whole();
        self.log.all()
    }

    fn stop_whole(&mut self) {
        self.signal("TERM");
        assert_eq!(self.wait_exit(), 0, "{:#?}", self.log.all());
        let stopped = self.log.wait("stopped");
        assert!(stopped["message"].as_str().unwrap().contains("every thread has ended"), "{stopped}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return;
        }
        self.stop_whole();
    }
}
