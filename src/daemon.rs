//! The composition root: what is started in which order, and what is joined at the end.

use std::net::TcpListener;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::actors::alert::{Alerts, AlertsParts};
use crate::actors::board::Board;
use crate::actors::model::load::{Loader, SessionLoader};
use crate::actors::model::measure::Bench;
use crate::actors::model::{Model, ModelParts, Shelf};
use crate::actors::monitor::{Monitor, MonitorParts};
use crate::actors::supervisor::{
    ABORT_GRACE, ChildDown, EXIT_SOFTWARE, EngineBegan, Factories, Ground, ReadConfig, Supervisor,
};
use crate::actors::web::{Servers, Web};
use crate::config::{Access, Config, ModelConfig, model_name};
use crate::core::status::Room;
use crate::engine::cancel::Cancel;
use crate::engine::ort::{LoadOptions, Runtime};
use crate::engine::threads::{Life, OnLife, Threads};
use crate::engine::{LoadError, Session, ort, runtime};
use crate::http;
use crate::limits;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::probe::{self, ProbeOptions};
use crate::qualify::Receipts;
use crate::signals;
use crate::state::StateDirectory;
use crate::trial::{Trials, Within};

/// Exit code of an ONNX Runtime that cannot be used (`EX_UNAVAILABLE`).
pub const EXIT_RUNTIME: u8 = 69;
/// Exit code of a port that cannot be listened on, or another refusal of the system (`EX_OSERR`).
pub const EXIT_SYSTEM: u8 = 71;

/// Requests for which the queue has room, whatever `model.queue_limit` is at the start: a reload may raise it so far.
const LEAST_ROOM: usize = 4096;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ONNX Runtime library.
    #[error("{0}")]
    Runtime(String),
    /// The port, a thread, a signal handler.
    #[error("{0}")]
    System(String),
}

impl StartError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Runtime(_) => EXIT_RUNTIME,
            StartError::System(_) => EXIT_SYSTEM,
        }
    }
}

/// Finds and opens the ONNX Runtime library.
///
/// # Errors
/// [`StartError::Runtime`]
pub fn open_runtime(config: &ModelConfig) -> Result<Runtime, StartError> {
    let by_environment = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    let executable = std::env::current_exe().ok();
    let path = runtime::find(config, by_environment.as_deref().map(Path::new), executable.as_deref())
        .map_err(|error| StartError::Runtime(error.to_string()))?;
    let runtime = Runtime::open(&path)
        .map_err(|error| runtime::RuntimeError::Broken { path: path.display().to_string(), reason: error })
        .map_err(|error| StartError::Runtime(error.to_string()))?;
    if runtime::parse_version(runtime.version()).is_some_and(|version| version < runtime::MADE_FOR) {
        tracing::warn!(
            event = "runtime_old",
            "ONNX Runtime {} is older than 1.31 and may crash on a malformed model: fetch a newer one",
            runtime.version()
        );
    }
    tracing::info!(
        event = "runtime",
        version = runtime.version(),
        "ONNX Runtime {} from {}",
        runtime.version(),
        path.display()
    );
    Ok(runtime)
}

/// How sessions are made from the configuration.
pub fn load_options(config: &ModelConfig) -> LoadOptions {
    let allowed = std::thread::available_parallelism().map_or(1, NonZero::get);
    LoadOptions {
        threads: if config.threads == 0 { allowed } else { config.threads },
        spinning: config.spinning,
        memory_arena: config.memory_arena,
        keep_zipmap: config.keep_zipmap,
    }
}

/// Sessions of ONNX Runtime, of files that were tried before.
struct OrtLoader {
    runtime: Runtime,
    options: LoadOptions,
    trials: Option<Trials>,
    receipts: Receipts,
}

impl Loader for OrtLoader {
    fn try_out(&self, path: &Path, sha256: &str, within: Option<Within<'_>>) -> Result<(), LoadError> {
        self.trials.as_ref().map_or(Ok(()), |trials| trials.try_out(path, sha256, within))
    }

    fn session(&self, path: &Path, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError> {
        let session: Box<dyn Session> = Box::new(ort::load(&self.runtime, path, &self.options, cancel)?);
        #[cfg(feature = "test-hooks")]
        let session: Box<dyn Session> = Box::new(crate::hooks::Faulty::new(session, path));
        Ok(session)
    }

    fn light_session(&self, path: &Path, threads: usize, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError> {
        let options = LoadOptions { threads, ..self.options };
        Ok(Box::new(ort::load(&self.runtime, path, &options, cancel)?))
    }

    fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    fn leave(&self) {
        self.trials.iter().for_each(Trials::leave);
    }
}

/// A loader of sessions on `runtime`; what has passed its trial is remembered in `state`.
pub fn session_loader(runtime: Runtime, config: &ModelConfig, state: Arc<StateDirectory>) -> SessionLoader {
    let receipts = Receipts::new(Arc::clone(&state), runtime.version());
    let trials = Some(Trials::new(config, runtime.path(), runtime.version(), state));
    Arc::new(OrtLoader { runtime, options: load_options(config), trials, receipts })
}

/// A loader for the process in which a file is tried.
pub fn loader_without_trial(runtime: Runtime, config: &ModelConfig) -> SessionLoader {
    let receipts = Receipts::new(Arc::new(StateDirectory::in_memory()), runtime.version());
    Arc::new(OrtLoader { runtime, options: load_options(config), trials: None, receipts })
}

/// Reads the settings again, from where they came at the start; all that is wrong with them else.
pub type ReadSettings = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;

/// What the rooms have of the world outside.
struct Outside {
    state: Arc<StateDirectory>,
    read_config: ReadConfig,
}

/// Runs the daemon until it is told to stop, and gives its exit code.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub fn run(config: Config, read: ReadSettings) -> Result<i32, StartError> {
    let access = Access::read(&config.server).map_err(StartError::System)?;
    let listener = TcpListener::bind(config.server.listen).map_err(|error| {
        StartError::System(format!("cannot listen on {}: {error}; see server.listen", config.server.listen))
    })?;
    let address = listener.local_addr().unwrap_or(config.server.listen);
    if let Err(reason) = limits::make_room(config.server.max_connections) {
        tracing::warn!(event = "few_files", "{reason}");
    }
    let state = Arc::new(StateDirectory::open(&config, &crate::config::captured_environment()));
    if let Some(reason) = state.memory_reason() {
        tracing::warn!(event = "state_in_memory", "{reason}");
    }
    let runtime = open_runtime(&config.model)?;
    let name = model_name(&config);
    let metrics =
        Metrics::new(&name, runtime.version()).map_err(|error| StartError::System(format!("metrics: {error}")))?;
    let config = Arc::new(config);
    let board =
        Board::new(Arc::clone(&config), address, name.clone(), runtime.version().to_owned(), Arc::clone(&metrics));
    board.set_access(access);
    let loader = session_loader(runtime, &config.model, Arc::clone(&state));
    let read_config: ReadConfig = Arc::new(move || {
        let config = read()?;
        let access = Access::read(&config.server).map_err(|error| vec![error])?;
        Ok((config, access))
    });
    let outside = Outside { state, read_config };
    let bench_loader = Arc::clone(&loader);

    let system = System::new();
    let built = system.block_on(async { build(&board, listener, name, loader, outside) });
    let (threads, arbiter, bench) =
        built.map_err(|error| StartError::System(format!("the system refuses: {error}")))?;
    tracing::info!(event = "listening", address = %address, model = board.model_name, "listening on http://{address}");
    let code = system.run_with_code().map_err(|error| StartError::System(error.to_string()))?;
    // A stop has joined them; after a spent budget they are told to end now.
    arbiter.stop();
    if arbiter.join().is_err() {
        tracing::warn!(event = "monitor_lost", "the monitor's thread ended by a panic");
    }
    threads.close();
    threads.abort();
    let deadline = Instant::now() + Duration::from_secs(1);
    let (threads_ended, bench_ended) = (threads.join(deadline), bench.join(deadline));
    if threads_ended && bench_ended {
        return Ok(code);
    }
    // What is measured is ended on purpose, and by no fault of its own.
    bench_loader.receipts().attempts().end();
    // A run that does not let itself be ended is still inside the runtime, which must not be taken down around it.
    // SAFETY: it ends the process, without running anything of it.
    unsafe { libc::_exit(code) }
}

/// Waits for the supervisor's word, or its death, and then for the last answers.
async fn end(leave: oneshot::Receiver<i32>, threads: Arc<Threads>, servers: Arc<Servers>) {
    let code = leave.await.unwrap_or(EXIT_SOFTWARE);
    // After a stop that went in order nothing is left; else whoever waits is told.
    threads.close();
    threads.abort();
    let _ = actix_rt::time::timeout(ABORT_GRACE, servers.stop()).await;
    System::current().stop_with_code(code);
}

/// What the probes look at: the box, or the folder that a test puts in its place.
fn probe_options() -> ProbeOptions {
    #[cfg(feature = "test-hooks")]
    if let Some(root) = std::env::var_os("EDGE_TEST_ROOT") {
        return ProbeOptions { root: root.into(), ..ProbeOptions::default() };
    }
    ProbeOptions::default()
}

fn build(
    board: &Arc<Board>,
    listener: TcpListener,
    name: String,
    loader: SessionLoader,
    outside: Outside,
) -> std::io::Result<(Arc<Threads>, Arbiter, Arc<Bench>)> {
    #[cfg(feature = "test-hooks")]
    crate::hooks::Hooks::answer_as_started();
    let config = board.config();
    let mailbox: Arc<OnceLock<Addr<Supervisor>>> = Arc::default();
    let on_life: OnLife = Arc::new({
        let mailbox = Arc::clone(&mailbox);
        move |thread, life| match (mailbox.get(), life) {
            (None, _) => {}
            (Some(supervisor), Life::Began) => supervisor.do_send(EngineBegan { thread }),
            (Some(supervisor), Life::Died) => {
                supervisor.do_send(ChildDown { room: Room::Engine, thread, crashed: true });
            }
        }
    });
    let room = config.model.queue_limit.max(LEAST_ROOM);
    let threads = Threads::start(config.model.sessions, room, on_life)?;
    let bench = Arc::<Bench>::default();
    let parts = ModelParts {
        board: Arc::clone(board),
        bench: Arc::clone(&bench),
        config: Arc::clone(&config),
        threads: Arc::clone(&threads),
        metrics: Arc::clone(&board.metrics),
        shelf: Arc::new(Shelf::default()),
        loader,
        name,
    };
    let arbiter = Arbiter::new();
    let monitor_arbiter = arbiter.handle();
    let monitor_parts = MonitorParts { board: Arc::clone(board), probes: Arc::new(|| probe::all(&probe_options())) };
    let alert_board = Arc::clone(board);
    let (web_board, listener) = (Arc::clone(board), Arc::new(listener));
    let servers = Arc::<Servers>::default();
    let web_servers = Arc::clone(&servers);
    let factories = Factories {
        model: Box::new(move |obituary, supervisor| {
            let (events, canary) = (supervisor.clone().recipient(), supervisor.recipient());
            Model::new(parts.clone(), events, canary, obituary).start()
        }),
        web: Box::new(move |obituary| {
            let (board, listener, servers) = (&web_board, &listener, &web_servers);
            Web::new(Arc::clone(board), Arc::clone(listener), Arc::new(http::server), Arc::clone(servers), obituary)
                .start()
        }),
        alert: Box::new(move |obituary, supervisor, before| {
            let (config, metrics) = (alert_board.config(), Arc::clone(&alert_board.metrics));
            let parts = AlertsParts { config, metrics, started: alert_board.started, before };
            Alerts::new(parts, supervisor.clone().recipient(), supervisor.recipient(), obituary).start()
        }),
        // Probes block, so the room has a thread of its own.
        monitor: Box::new(move |obituary, supervisor| {
            let parts = monitor_parts.clone();
            Monitor::start_in_arbiter(&monitor_arbiter, move |_| Monitor::new(parts, supervisor.recipient(), obituary))
        }),
    };
    let (leave, left) = oneshot::channel();
    actix_rt::spawn(end(left, Arc::clone(&threads), Arc::clone(&servers)));
    let Outside { state, read_config } = outside;
    let ground = Ground {
        state,
        read_config,
        board: Arc::clone(board),
        threads: Arc::clone(&threads),
        servers,
        leave,
        notifier: Notifier::from_environment(),
    };
    let supervisor = Supervisor::new(ground, factories).start();
    let _ = mailbox.set(supervisor.clone());
    #[cfg(feature = "test-hooks")]
    crate::hooks::Hooks::install(supervisor.clone().recipient());
    board.set_reload_door(supervisor.clone().recipient());
    signals::watch_wishes(supervisor.clone().recipient(), supervisor.clone().recipient())?;
    signals::watch(supervisor.recipient())?;
    Ok((threads, arbiter, bench))
}
