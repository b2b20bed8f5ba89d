//! From a file to a session: what it takes and gives, and one clear line for a file that is of no use.

use std::path::Path;
use std::sync::Arc;

use ort::AsPointer;
use ort::session::builder::{GraphOptimizationLevel, LoadCanceler, SessionBuilder};
use ort::value::ValueType;

use super::explain::explain;
use super::{OrtSession, Runtime, one_line, value, zipmap};
use crate::core::tensor::{ANY_RANK, ModelSpec, TensorSpec};
use crate::engine::LoadError;
use crate::engine::cancel::{Cancel, Interrupt};

/// How a session is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads within the session, at least 1.
    pub threads: usize,
    /// Whether they spin while idle.
    pub spinning: bool,
    /// Whether memory is kept between runs.
    pub memory_arena: bool,
    /// Whether a `ZipMap` stays at the end of the graph, and its output is left out.
    pub keep_zipmap: bool,
}

/// Ends a load between two of the runtime's steps.
struct Load(LoadCanceler);

impl Interrupt for Load {
    fn interrupt(&self) {
        // It only sets a flag of the load; there is nobody to tell if that fails.
        let _ = self.0.cancel();
    }
}

/// Loads the model at `path`, until `cancel` ends it.
///
/// # Errors
/// [`LoadError`] says what is wrong with the file, in one line.
pub fn load(runtime: &Runtime, path: &Path, options: &LoadOptions, cancel: &Cancel) -> Result<OrtSession, LoadError> {
    let unusable = |reason: String| LoadError::Unusable { path: path.display().to_string(), reason };
    let changed = if options.keep_zipmap { None } else { zipmap::taken_out(path) };
    let mut builder = builder(runtime, options).map_err(|error| unusable(one_line(error.message())))?;
    if changed.is_some() {
        builder = zipmap::beside(builder, path).map_err(|error| unusable(one_line(error.message())))?;
    }
    cancel.begin(Arc::new(Load(builder.canceler()))).map_err(|_| unusable("its load was ended".to_owned()))?;
    let changed = changed.and_then(|(bytes, taken)| match builder.commit_from_memory(&bytes) {
        Ok(session) => Some((session, taken)),
        Err(error) => {
            if cancel.reason().is_none() {
                let reason = one_line(error.message());
                tracing::warn!(event = "zipmap_kept", "the ZipMap of {} stays: without it, {reason}", path.display());
            }
            None
        }
    });
    let (session, taken) = match changed {
        Some((session, taken)) => (Ok(session), taken),
        None => (builder.commit_from_file(path), Vec::new()),
    };
    cancel.end();
    let session = session.map_err(|error| unusable(explain(&one_line(error.message()))))?;
    let mut spec = spec(&session).map_err(unusable)?;
    spec.classes = taken.into_iter().map(|taken| (taken.output, taken.classes.into())).collect();
    Ok(OrtSession { session, spec })
}

/// How much a graph is rewritten when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimize {
    /// Not at all: every tensor of the graph is there, computed as the graph says.
    Nothing,
    /// All that the runtime can do.
    All,
}

/// Loads the model of a file.
///
/// # Errors
/// One line: what is wrong with the model.
pub fn load_file(
    runtime: &Runtime,
    path: &Path,
    options: &LoadOptions,
    optimize: Optimize,
) -> Result<OrtSession, String> {
    made(optimized(runtime, options, optimize).and_then(|mut builder| builder.commit_from_file(path)))
}

fn optimized(runtime: &Runtime, options: &LoadOptions, optimize: Optimize) -> ort::Result<SessionBuilder> {
    let level = match optimize {
        Optimize::Nothing => GraphOptimizationLevel::Disable,
        Optimize::All => GraphOptimizationLevel::All,
    };
    builder(runtime, options)
        .and_then(|builder| builder.with_optimization_level(level).map_err(plain))
        // In the arena weights would take up to the next power of two.
        .and_then(|builder| builder.with_device_allocated_initializers().map_err(plain))
}

fn made(session: ort::Result<ort::session::Session>) -> Result<OrtSession, String> {
    let session = session.map_err(|error| explain(&one_line(error.message())))?;
    let spec = spec(&session)?;
    Ok(OrtSession { session, spec })
}

/// Writes the model at `path`, or of `bytes` in its place, to `into` as the runtime's first level of rewriting leaves it: standard
/// operators, constants and normalisations folded.
///
/// # Errors
/// One line: what is wrong with the model.
pub fn simplify(runtime: &Runtime, path: &Path, bytes: Option<&[u8]>, into: &Path) -> Result<(), String> {
    let options = LoadOptions { threads: 1, spinning: false, memory_arena: false, keep_zipmap: false };
    let session = builder(runtime, &options)
        .and_then(|builder| builder.with_optimization_level(GraphOptimizationLevel::Level1).map_err(plain))
        // Nothing is run: weights laid out for running would only take their memory a second time.
        .and_then(|builder| builder.with_prepacking(false).map_err(plain))
        .and_then(|builder| builder.with_optimized_model_path(into).map_err(plain))
        .and_then(|mut builder| match bytes {
            Some(bytes) => builder.commit_from_memory(bytes),
            None => builder.commit_from_file(path),
        });
    session.map(drop).map_err(|error| explain(&one_line(error.message())))
}

fn plain(error: ort::Error<SessionBuilder>) -> ort::Error {
    ort::Error::new(error.message())
}

fn builder(runtime: &Runtime, options: &LoadOptions) -> ort::Result<SessionBuilder> {
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
    // SAFETY: the options belong to the builder, which is alive; the call only sets a flag in them.
    unsafe { ort::Error::result_from_status((ort::api().DisableCpuMemArena)(builder.ptr_mut()))? };
    Ok(builder)
}

fn spec(session: &ort::session::Session) -> Result<ModelSpec, String> {
    let mut inputs = Vec::new();
    for (index, input) in session.inputs().iter().enumerate() {
        let mut spec = tensor_spec(input.name(), input.dtype(), false).ok_or_else(|| {
            format!("its input '{}' is no tensor that the protocol can name ({})", input.name(), input.dtype())
        })?;
        if !has_shape(session, Side::Inputs, index).map_err(|error| one_line(error.message()))? {
            spec.shape = vec![ANY_RANK];
        }
        inputs.push(spec);
    }
    for initializer in session.overridable_initializers() {
        inputs.extend(tensor_spec(initializer.name(), initializer.dtype(), true));
    }
    let (mut outputs, mut left_out) = (Vec::new(), Vec::new());
    for (index, output) in session.outputs().iter().enumerate() {
        match tensor_spec(output.name(), output.dtype(), false) {
            Some(spec) if has_shape(session, Side::Outputs, index).unwrap_or(true) => outputs.push(spec),
            Some(spec) => outputs.push(TensorSpec { shape: vec![ANY_RANK], ..spec }),
            None => left_out.push(output.name().to_owned()),
        }
    }
    if outputs.is_empty() {
        return Err(
            "none of its outputs is a tensor that the protocol can name: export it with tensor outputs".to_owned()
        );
    }
    Ok(ModelSpec { inputs, outputs, left_out, ..ModelSpec::default() })
}

#[derive(Clone, Copy)]
enum Side {
    Inputs,
    Outputs,
}

/// Whether the model tells how many dimensions a tensor has; without that it looks like a scalar.
fn has_shape(session: &ort::session::Session, side: Side, index: usize) -> ort::Result<bool> {
    let api = ort::api();
    let mut info = std::ptr::null_mut();
    // SAFETY: the session is alive and `index` is one of its inputs or outputs; what the first call gives is released by
    // the last, and the tensor's part of it is not used after that.
    unsafe {
        let status = match side {
            Side::Inputs => (api.SessionGetInputTypeInfo)(session.ptr(), index, &mut info),
            Side::Outputs => (api.SessionGetOutputTypeInfo)(session.ptr(), index, &mut info),
        };
        ort::Error::result_from_status(status)?;
        let mut tensor = std::ptr::null();
        let status = (api.CastTypeInfoToTensorInfo)(info, &mut tensor);
        let told = ort::Error::result_from_status(status)
            .map(|()| tensor.is_null() || (api.TensorTypeAndShape_HasShape)(tensor));
        (api.ReleaseTypeInfo)(info);
        told
    }
}

fn tensor_spec(name: &str, dtype: &ValueType, optional: bool) -> Option<TensorSpec> {
    let ValueType::Tensor { ty, shape, .. } = dtype else { return None };
    Some(TensorSpec { name: name.to_owned(), datatype: value::datatype(*ty)?, shape: shape.to_vec(), optional })
}
