//! `edge-service quantize`

use std::io::IsTerminal;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Settings, complain, say};
use crate::actors::model::load;
use crate::engine::cpu::Cpu;
use crate::onnx::file;
use crate::quantize::work::{self, Calibrator, Failure, Lab, Order, Watch};
use crate::quantize::{Integer, Method};
use crate::{daemon, telemetry};

mod or_original;
mod signals;

/// What `quantize` takes.
#[derive(Args, Clone, Debug)]
pub struct QuantizeArgs {
    /// The INT8 file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Static (ranges from samples), dynamic (ranges at every run), or what the graph suggests
    #[arg(long, value_enum, default_value_t = MethodArg::Auto)]
    method: MethodArg,
    /// Samples: a folder of pictures or .npy arrays, or a .npz with one array an input [default: the folder `frames`
    /// beside the model, where there is one]
    #[arg(long, value_name = "DIR|FILE.npz")]
    calibration: Option<PathBuf>,
    /// The most samples that are used, evenly spread over all; a quarter of them is held out to compare on
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How ranges are found
    #[arg(long, value_enum, default_value_t = Calibrator::Minmax)]
    calibrator: Calibrator,
    /// The type of activations [default: as the graph and the processor suggest]
    #[arg(long, value_enum)]
    activations: Option<IntegerArg>,
    /// The type of weights [default: as the graph and the processor suggest]
    #[arg(long, value_enum)]
    weights: Option<IntegerArg>,
    /// One scale for a whole weight, not one a channel
    #[arg(long)]
    per_tensor: bool,
    /// Weights of 7 bits, which is the rule where the processor has no dot product
    #[arg(long)]
    reduce_range: bool,
    /// Nodes by their names, or operators, that stay in float
    #[arg(long, value_name = "NAME|OP", num_args = 1..)]
    exclude: Vec<String>,
    /// The agreement to reach [default: 0.98 for classifiers and detectors, 0.95 (an error of 0.05) for values]
    #[arg(long, value_name = "X", value_parser = share)]
    target_agreement: Option<f64>,
    /// How long the search for nodes that spoil the agreement may take
    #[arg(long, value_name = "S", default_value_t = 120.0, value_parser = seconds)]
    search_seconds: f64,
    /// Take the agreement as it comes; every sample then serves for ranges
    #[arg(long)]
    no_search: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Put the original in the output's place when anything fails, and exit with 0
    #[arg(long)]
    or_original: bool,
    /// Lay the file out as the Python tool does
    #[arg(long, hide = true)]
    plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodArg {
    Auto,
    Static,
    Dynamic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IntegerArg {
    U8,
    S8,
}

impl From<IntegerArg> for Integer {
    fn from(integer: IntegerArg) -> Integer {
        match integer {
            IntegerArg::U8 => Integer::U8,
            IntegerArg::S8 => Integer::S8,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "give a number from 0 to 1".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=1e6).contains(seconds));
    seconds.ok_or_else(|| "give a number of seconds".to_owned())
}

/// Quantises; with `--or-original` in a child, whose end, whatever it is, leaves a file that serves.
pub fn quantize(settings: Settings, args: QuantizeArgs) -> ExitCode {
    if args.or_original {
        return or_original::run(settings, &args.output);
    }
    work::give_memory_back();
    let placing = Arc::new(Mutex::new(()));
    if let Err(error) = signals::leave_at_once(Arc::clone(&placing)) {
        complain(&format!("signals cannot be waited for: {error}"));
        return ExitCode::from(daemon::EXIT_SYSTEM);
    }
    if let Err(error) = telemetry::start_quiet() {
        complain(&error);
    }
    let loaded = match settings.survey().into_loaded() {
        Ok(loaded) => loaded,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(errors.exit_code());
        }
    };
    let config = loaded.config;
    let runtime = match daemon::open_runtime(&config.model) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let order = order(&args, config.model.path.clone(), config.model.max_image_pixels);
    match carry_out(&order, &args, &Lab { runtime, threads }, placing) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn order(args: &QuantizeArgs, model: PathBuf, max_pixels: u64) -> Order {
    Order {
        model,
        output: args.output.clone(),
        samples: args.calibration.clone(),
        limit: args.limit as usize,
        calibrator: args.calibrator,
        method: match args.method {
            MethodArg::Auto => None,
            MethodArg::Static => Some(Method::Static),
            MethodArg::Dynamic => Some(Method::Dynamic),
        },
        activations: args.activations.map(Integer::from),
        weights: args.weights.map(Integer::from),
        per_tensor: args.per_tensor,
        reduce_range: args.reduce_range,
        exclude: args.exclude.clone(),
        target: args.target_agreement,
        search: (!args.no_search && !args.plain).then(|| Duration::from_secs_f64(args.search_seconds)),
        plain: args.plain,
        max_pixels,
    }
}

fn carry_out(order: &Order, args: &QuantizeArgs, lab: &Lab, placing: Arc<Mutex<()>>) -> Result<(), Failure> {
    let sha256 = load::hash(&order.model)?;
    apart(&order.model, &order.output, args.report.as_deref())?;
    for path in [Some(&order.output), args.report.as_ref()].into_iter().flatten() {
        has_folder(path)?;
        file::probe(path)?;
    }
    let progress = Progress::new(placing);
    let report = work::make(order, &sha256, lab, &Cpu::detect(), &progress);
    progress.bar.finish_and_clear();
    let report = report?;
    say(&report.table());
    if let Some(path) = &args.report {
        let json = serde_json::to_vec_pretty(&report).map_err(|error| Failure::Output(error.to_string()))?;
        progress.place(&mut || file::write_bytes(path, &json).map_err(Failure::from))?;
    }
    Ok(())
}

/// Refuses to write over what is read, or twice in one place.
fn apart(model: &Path, output: &Path, report: Option<&Path>) -> Result<(), Failure> {
    let asked = |text: &str| Err(Failure::Asked(text.to_owned()));
    match report {
        _ if same_place(model, output) => asked("--output is the model itself: give another file"),
        Some(report) if same_place(model, report) => asked("--report is the model itself: give another file"),
        Some(report) if same_place(output, report) => asked("--report is the --output itself: give another file"),
        _ => Ok(()),
    }
}

/// Whether two paths lead to one file, which need not be there yet.
fn same_place(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let missing = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
        path.canonicalize().ok().or_else(missing)
    };
    place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// Told before the work, not after it.
fn has_folder(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.is_dir(), path.is_dir()) {
        (true, false) => Ok(()),
        (true, true) => Err(Failure::Output(format!("{} cannot be written: it is a folder", path.display()))),
        (false, _) => Err(Failure::Output(format!(
            "{} cannot be written: the folder {} is not there",
            path.display(),
            folder.display()
        ))),
    }
}

/// A bar with the time that is left, on a terminal; elsewhere only what the operator should read.
struct Progress {
    bar: ProgressBar,
    placing: Arc<Mutex<()>>,
}

impl Progress {
    fn new(placing: Arc<Mutex<()>>) -> Progress {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Progress { bar: ProgressBar::with_draw_target(None, target), placing }
    }
}

impl Watch for Progress {
    fn begin(&self, what: &str, steps: u64) {
        let template = match steps {
            0 => "{msg:<28} {pos} tried, {elapsed} gone",
            1 => "{msg:<28} {elapsed} gone",
            _ => "{msg:<28} [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.reset();
        self.bar.set_length(steps);
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    fn step(&self) {
        self.bar.inc(1);
    }

    fn tell(&self, line: &str) {
        self.bar.suspend(|| complain(&line));
    }

    fn place(&self, write: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let _whole = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        write()
    }
}
