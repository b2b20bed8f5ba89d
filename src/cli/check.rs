//! `edge-service check`

use std::process::ExitCode;

use super::{complain, say};
use crate::actors::model::load;
use crate::actors::supervisor::exit_code_of;
use crate::config::{Loaded, model_name};
use crate::core::tensor::TensorSpec;
use crate::{daemon, telemetry};

/// Tells what would be served, or all that is in the way.
pub fn check(loaded: &Loaded) -> ExitCode {
    let config = &loaded.config;
    if let Err(error) = telemetry::start_quiet() {
        complain(&error);
    }
    let mut code = 0;
    let source = loaded.source.as_ref().map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
    say(&format!("configuration: {source}"));
    for notice in &loaded.notices {
        complain(notice);
    }
    match daemon::open_runtime(&config.model) {
        Err(error) => {
            complain(&error);
            code = error.exit_code();
            // The file can be looked at without a runtime.
            if let Err(error) = load::hash(&config.model.path) {
                complain(&error);
            }
        }
        Ok(runtime) => {
            say(&format!("runtime: ONNX Runtime {}", runtime.version()));
            let name = model_name(config);
            let loader = daemon::session_loader(runtime, &config.model);
            match load::load(&config.model, &name, &loader) {
                Ok(loaded) => {
                    let served = loaded.served;
                    let list = |specs: &[TensorSpec]| {
                        let one = |spec: &TensorSpec| format!("{} {}{:?}", spec.name, spec.datatype, spec.shape);
                        specs.iter().map(one).collect::<Vec<_>>().join(", ")
                    };
                    say(&format!("model: {name} from {}, SHA-256 {}", served.path.display(), served.sha256));
                    say(&format!("inputs: {}", list(&served.spec.inputs)));
                    say(&format!("outputs: {}", list(&served.spec.outputs)));
                    say(if served.image.is_some() { "pictures: taken" } else { "pictures: not taken (no model.toml)" });
                }
                Err(error) => {
                    complain(&error);
                    code = u8::try_from(exit_code_of(&error)).unwrap_or(1);
                }
            }
        }
    }
    if code == 0 {
        say("ok");
    }
    ExitCode::from(code)
}
