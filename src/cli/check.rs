//! `edge-service check`

use std::process::ExitCode;
use std::sync::Arc;

use super::{complain, say};
use crate::actors::model::load;
use crate::actors::supervisor::exit_code_of;
use crate::config::{Config, Survey, model_name};
use crate::core::tensor::TensorSpec;
use crate::engine::ort::Runtime;
use crate::state::StateDirectory;
use crate::{daemon, telemetry};

/// Tells what would be served, or all that is in the way: of the configuration, the runtime and the model. The exit
/// code is that of the first of them that is wrong.
pub fn check(survey: &Survey) -> ExitCode {
    if let Err(error) = telemetry::start_quiet() {
        complain(&error);
    }
    let mut codes = Vec::new();
    let config = &survey.loaded.config;
    match &survey.errors {
        Some(errors) => {
            complain(errors);
            codes.push(errors.exit_code());
        }
        None => {
            let source = survey.loaded.source.as_ref();
            say(&format!("configuration: {}", source.map_or("defaults".to_owned(), |path| path.display().to_string())));
        }
    }
    for notice in &survey.loaded.notices {
        complain(notice);
    }
    let runtime = (!survey.is_wrong("model.runtime_library")).then(|| daemon::open_runtime(&config.model));
    match &runtime {
        None => {}
        Some(Ok(runtime)) => say(&format!("runtime: ONNX Runtime {}", runtime.version())),
        Some(Err(error)) => {
            complain(error);
            codes.push(error.exit_code());
        }
    }
    if survey.knows("model.path") {
        codes.extend(model(config, runtime.and_then(Result::ok)).err());
    } else {
        complain(&"the model is not checked: which one is meant is not known");
    }
    match codes.first() {
        None => {
            say("ok");
            ExitCode::SUCCESS
        }
        Some(code) => ExitCode::from(*code),
    }
}

/// The model, or the exit code of what is wrong with it.
fn model(config: &Config, runtime: Option<Runtime>) -> Result<(), u8> {
    let Some(runtime) = runtime else {
        // The file can be looked at without a runtime.
        return load::hash(&config.model.path).map(drop).map_err(|error| {
            complain(&error);
            code(exit_code_of(&error))
        });
    };
    let name = model_name(config);
    let loader = daemon::session_loader(runtime, &config.model, Arc::new(StateDirectory::in_memory()));
    let served = match load::load(&config.model, &name, &loader) {
        Ok(loaded) => loaded.served,
        Err(error) => {
            complain(&error);
            return Err(code(exit_code_of(&error)));
        }
    };
    let list = |specs: &[TensorSpec]| {
        let one = |spec: &TensorSpec| format!("{} {}{:?}", spec.name, spec.datatype, spec.told_shape());
        specs.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    say(&format!("model: {name} from {}, SHA-256 {}", served.path.display(), served.sha256));
    say(&format!("inputs: {}", list(&served.spec.inputs)));
    say(&format!("outputs: {}", list(&served.spec.outputs)));
    if !served.spec.left_out.is_empty() {
        say(&format!("outputs left out, being no tensors: {}", served.spec.left_out.join(", ")));
    }
    say(if served.image.is_some() { "pictures: taken" } else { "pictures: not taken (no model.toml)" });
    Ok(())
}

fn code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(1)
}
