//! `edge-service infer FILE…`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::{complain, say};
use crate::actors::model::ServedModel;
use crate::actors::model::load;
use crate::actors::supervisor::exit_code_of;
use crate::config::{Config, model_name};
use crate::core::tensor::Tensor;
use crate::engine::cancel::Cancel;
use crate::engine::{Call, Session};
use crate::image::{self, Limits, Prediction};
use crate::state::StateDirectory;
use crate::{daemon, telemetry};

/// What `infer` takes.
#[derive(Args, Debug)]
pub struct InferArgs {
    /// Pictures (JPEG, PNG) or .npy arrays
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a file
    #[arg(long)]
    json: bool,
    /// Predictions a file
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
}

#[derive(Serialize)]
struct Answer<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<Vec<Prediction>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Vec<Output>>,
    inference_ms: f64,
}

#[derive(Serialize)]
struct Output {
    name: String,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
    data: Option<Vec<f64>>,
}

/// Runs every file through the model; 1 if one of them failed.
pub fn infer(config: &Config, args: &InferArgs) -> ExitCode {
    if let Err(error) = telemetry::start_quiet() {
        complain(&error);
    }
    let runtime = match daemon::open_runtime(&config.model) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let loader = daemon::session_loader(runtime, &config.model, Arc::new(StateDirectory::in_memory()));
    let mut loaded = match load::load(&config.model, &model_name(config), &loader) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return ExitCode::from(u8::try_from(exit_code_of(&error)).unwrap_or(1));
        }
    };
    let Some(session) = loaded.sessions.first_mut() else { return ExitCode::FAILURE };
    let mut code = ExitCode::SUCCESS;
    for file in &args.files {
        if let Err(error) = infer_file(session.as_mut(), &loaded.served, config, args, file) {
            complain(&format!("{}: {error}", file.display()));
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn infer_file(
    session: &mut dyn Session,
    model: &ServedModel,
    config: &Config,
    args: &InferArgs,
    file: &Path,
) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let input = input(model, &bytes, config)?;
    let outputs: Vec<String> = match &model.image {
        Some(image) => vec![image.output_name().to_owned()],
        None => model.spec.outputs.iter().map(|output| output.name.clone()).collect(),
    };
    let begun = Instant::now();
    let call = Call { inputs: &[input], outputs: &outputs, cancel: &Cancel::default() };
    let answer = session.run(&[call]).pop().ok_or("the session gave no answer")?.map_err(|error| error.to_string())?;
    let inference_ms = (begun.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let name = file.display().to_string();
    let mut shown = Answer { file: &name, predictions: None, outputs: None, inference_ms };
    match &model.image {
        Some(image) => {
            let predictions = image.postprocess(&answer, args.top_k, config.model.top_k);
            shown.predictions = Some(predictions.map_err(|error| error.to_string())?);
        }
        None => {
            shown.outputs =
                Some(answer.iter().map(|tensor| output(tensor, model.spec.classes(tensor.name()))).collect())
        }
    }
    if args.json {
        say(&serde_json::to_string(&shown).map_err(|error| error.to_string())?);
    } else {
        print(&shown);
    }
    Ok(())
}

fn input(model: &ServedModel, bytes: &[u8], config: &Config) -> Result<Tensor, String> {
    let limits = Limits { max_pixels: config.model.max_image_pixels };
    let tensor =
        match (&model.image, model.spec.inputs.iter().filter(|input| !input.optional).collect::<Vec<_>>().as_slice()) {
            (Some(image), _) => image::to_input(image, bytes, &limits),
            (None, [input]) => image::read_npy(bytes, &input.name),
            (None, inputs) => return Err(format!("the model has {} inputs, and a file is one of them", inputs.len())),
        };
    tensor.map_err(|error| error.to_string())
}

fn output(tensor: &Tensor, classes: Option<&[String]>) -> Output {
    Output {
        name: tensor.name().to_owned(),
        datatype: tensor.datatype().name(),
        shape: tensor.shape().to_vec(),
        classes: classes.map(<[String]>::to_vec),
        data: tensor.to_f64(),
    }
}

fn print(answer: &Answer<'_>) {
    say(&format!("{} ({} ms)", answer.file, answer.inference_ms));
    for prediction in answer.predictions.iter().flatten() {
        say(&format!("  {:>8.4}  {:>4}  {}", prediction.score, prediction.index, prediction.label));
    }
    for output in answer.outputs.iter().flatten() {
        say(&format!("  {} {}{:?}", output.name, output.datatype, output.shape));
        if let Some(data) = &output.data {
            let name = |index: usize| {
                let classes = output.classes.as_ref().filter(|classes| !classes.is_empty())?;
                classes.get(index % classes.len()).map(|class| format!("{class}: "))
            };
            let shown = |(index, value)| format!("{}{value:.6}", name(index).unwrap_or_default());
            let first: Vec<String> = data.iter().take(8).enumerate().map(shown).collect();
            let more = if data.len() > first.len() { ", …" } else { "" };
            say(&format!("    {}{more}", first.join(", ")));
        }
    }
}
