//! The session of ONNX Runtime: the only room that knows `ort`.

mod explain;
mod load;
mod value;
mod zipmap;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::logging::LogLevel;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue};

use self::explain::without_source;
use super::cancel::Interrupt;
use super::{Call, RunError, Session};
use crate::core::tensor::{ModelSpec, Tensor};

pub use load::{LoadOptions, Optimize, load, load_file, simplify};

/// The oldest release that has the interface which is called here.
const OLDEST: (u32, u32) = (1, ort::sys::ORT_API_VERSION);

/// The opened library with its environment: one a process.
#[derive(Clone)]
pub struct Runtime {
    environment: ort::environment::Environment,
    version: String,
    path: PathBuf,
}

impl Runtime {
    /// Opens the library at `path`, which [`super::runtime::find`] found whole.
    ///
    /// # Errors
    /// One line: the library is too old, or cannot be opened.
    pub fn open(path: &Path) -> Result<Runtime, String> {
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        let version = library_version(&path)?;
        let builder = ort::init_from(&path).map_err(|error| one_line(&error.to_string()))?;
        let environment = builder.with_telemetry(false).build().map_err(|error| one_line(&error.to_string()))?;
        environment.set_log_level(LogLevel::Error);
        Ok(Runtime { environment, version, path })
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The library's version, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The version as the library itself gives it, which its name need not tell; and that it has what is called here.
fn library_version(path: &Path) -> Result<String, String> {
    type Base = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: opening a library runs its initialisers, which is what the operator who named it wants. The function and
    // the terminated string that it leads to are part of the runtime's stable interface; the string is copied before
    // the library is let go.
    unsafe {
        let library = libloading::Library::new(path).map_err(|error| one_line(&error.to_string()))?;
        let base = library.get::<Base>(b"OrtGetApiBase").map_err(|_| "it is no ONNX Runtime".to_owned())?;
        let base = base().as_ref().ok_or("it is no ONNX Runtime")?;
        let text = (base.GetVersionString)();
        if text.is_null() {
            return Err("it tells no version".to_owned());
        }
        let version = std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned();
        let told: String = version.chars().filter(|c| !c.is_control()).take(40).collect();
        if super::runtime::parse_version(&version).is_none_or(|version| version < OLDEST) {
            let (major, minor) = OLDEST;
            return Err(format!("its version is {told}, and the oldest that is taken is {major}.{minor}"));
        }
        if (base.GetApi)(ort::sys::ORT_API_VERSION).is_null() {
            return Err(format!("it says that its version is {told}, but lacks the interface of that"));
        }
        Ok(version)
    }
}

/// One session and what it takes and gives.
pub struct OrtSession {
    session: ort::session::Session,
    spec: ModelSpec,
}

/// A run that another thread can end.
struct Run(RunOptions<HasSelectedOutputs>);

// SAFETY: other threads only set the run's flag, which the runtime allows at any time; the selected outputs are
// names without preallocated values, and nobody changes them.
unsafe impl Sync for Run {}

impl Interrupt for Run {
    fn interrupt(&self) {
        // It only sets a flag of the run; there is nobody to tell if that fails.
        let _ = self.0.terminate();
    }
}

impl Session for OrtSession {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn run(&mut self, calls: &[Call<'_>]) -> Vec<Result<Vec<Tensor>, RunError>> {
        calls.iter().map(|call| self.run_one(call)).collect()
    }
}

impl OrtSession {
    fn run_one(&mut self, call: &Call<'_>) -> Result<Vec<Tensor>, RunError> {
        check_inputs(&self.spec, call.inputs)?;
        let graph = |error: ort::Error| RunError::Graph(one_line(error.message()));
        let selected = call.outputs.iter().fold(OutputSelector::no_default(), |all, name| all.with(name));
        let mut options = RunOptions::new().map_err(graph)?;
        // The answer carries the error to the one who asked: the runtime need not log it too.
        options.set_log_level(LogLevel::Fatal).map_err(graph)?;
        let run = Arc::new(Run(options.with_outputs(selected)));
        call.cancel.begin(run.clone()).map_err(|_| RunError::Cancelled)?;
        let mut values = Vec::with_capacity(call.inputs.len());
        for tensor in call.inputs {
            values
                .push((tensor.name(), SessionInputValue::from(value::Input::new(tensor).map_err(graph)?.into_value())));
        }
        let outputs = self.session.run_with_options(values, &run.0);
        call.cancel.end();
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(_) if call.cancel.reason().is_some() => return Err(RunError::Cancelled),
            Err(error) => return Err(graph(error)),
        };
        outputs.into_iter().map(|(name, output)| value::to_tensor(name, output)).collect()
    }
}

/// The runtime crashes inside a kernel when an input is missing, so what is here is checked here.
fn check_inputs(spec: &ModelSpec, inputs: &[Tensor]) -> Result<(), RunError> {
    for input in &spec.inputs {
        match inputs.iter().find(|tensor| tensor.name() == input.name) {
            Some(tensor) if tensor.datatype() != input.datatype || !input.accepts(tensor.shape()) => {
                return Err(RunError::Input(format!("input '{}' does not fit the model loaded now", input.name)));
            }
            None if !input.optional => return Err(RunError::Input(format!("input '{}' is missing", input.name))),
            _ => {}
        }
    }
    match inputs.iter().find(|tensor| spec.inputs.iter().all(|input| input.name != tensor.name())) {
        Some(unknown) => Err(RunError::Input(format!("the model has no input '{}'", unknown.name()))),
        None => Ok(()),
    }
}

/// The runtime's texts span lines and carry its source files: one line without them.
fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = match joined.rfind("Status Message: ") {
        Some(at) => &joined[at + "Status Message: ".len()..],
        None => &joined,
    };
    without_source(told)
}
