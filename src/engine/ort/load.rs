//! From a file to a session: what it takes and gives, and one clear line for a file that is of no use.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::ValueType;

use super::explain::explain;
use super::{OrtSession, Runtime, one_line, value};
use crate::core::tensor::{ModelSpec, TensorSpec};
use crate::engine::LoadError;

/// How a session is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads within the session, at least 1.
    pub threads: usize,
    /// Whether they spin while idle.
    pub spinning: bool,
    /// Whether memory is kept between runs.
    pub memory_arena: bool,
}

/// Loads the model at `path`, within `timeout`.
///
/// # Errors
/// [`LoadError`] says what is wrong with the file, in one line.
pub fn load(runtime: &Runtime, path: &Path, options: &LoadOptions, timeout: Duration) -> Result<OrtSession, LoadError> {
    let unusable = |reason: String| LoadError::Unusable { path: path.display().to_string(), reason };
    let mut builder = builder(runtime, options).map_err(|error| unusable(one_line(error.message())))?;
    let canceler = builder.canceler();
    let (finished, watch) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let late = watch.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = canceler.cancel();
        }
        late
    });
    let session = builder.commit_from_file(path);
    drop(finished);
    let late = watcher.join().unwrap_or(false);
    let session = session.map_err(|error| {
        if late {
            unusable("it is not loaded in time; see model.load_timeout_seconds".to_owned())
        } else {
            unusable(explain(&one_line(error.message())))
        }
    })?;
    let spec = spec(&session).map_err(unusable)?;
    Ok(OrtSession { session, spec })
}

fn builder(runtime: &Runtime, options: &LoadOptions) -> ort::Result<SessionBuilder> {
    let plain = |error: ort::Error<SessionBuilder>| ort::Error::new(error.message());
    let builder = ort::session::Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(plain)?
        .with_intra_threads(options.threads.max(1))
        .map_err(plain)?
        .with_intra_op_spinning(options.spinning)
        .map_err(plain)?
        .with_inter_op_spinning(options.spinning)
        .map_err(plain)?;
    if options.memory_arena {
        return Ok(builder);
    }
    let mut builder = builder.with_memory_pattern(false).map_err(plain)?;
    use ort::AsPointer;
    // SAFETY: the options belong to the builder, which is alive; the call only sets a flag in them.
    unsafe { ort::Error::result_from_status((ort::api().DisableCpuMemArena)(builder.ptr_mut()))? };
    Ok(builder)
}

fn spec(session: &ort::session::Session) -> Result<ModelSpec, String> {
    let mut inputs = Vec::new();
    for input in session.inputs() {
        inputs.push(tensor_spec(input.name(), input.dtype(), false).ok_or_else(|| {
            format!("its input '{}' is no tensor that the protocol can name ({})", input.name(), input.dtype())
        })?);
    }
    for initializer in session.overridable_initializers() {
        inputs.extend(tensor_spec(initializer.name(), initializer.dtype(), true));
    }
    let (mut outputs, mut left_out) = (Vec::new(), Vec::new());
    for output in session.outputs() {
        match tensor_spec(output.name(), output.dtype(), false) {
            Some(spec) => outputs.push(spec),
            None => left_out.push(output.name().to_owned()),
        }
    }
    if outputs.is_empty() {
        return Err(
            "none of its outputs is a tensor that the protocol can name: export it with tensor outputs".to_owned()
        );
    }
    Ok(ModelSpec { inputs, outputs, left_out })
}

fn tensor_spec(name: &str, dtype: &ValueType, optional: bool) -> Option<TensorSpec> {
    let ValueType::Tensor { ty, shape, .. } = dtype else { return None };
    Some(TensorSpec { name: name.to_owned(), datatype: value::datatype(*ty)?, shape: shape.to_vec(), optional })
}
