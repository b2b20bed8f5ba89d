//! Graphics processors, through whatever library knows them.
//!
//! A driver may know only some figures, or give nonsense: integrated GPUs answer "not supported" or all ones. What is no
//! figure is absent, and the others stand.

use std::time::{Duration, Instant};

use super::{Probe, ProbeError};
use crate::core::sample::{Gpu, Reading};

/// GPUs that are read at most.
const GPU_LIMIT: u32 = 64;
/// How long after a failure the library is loaded again: a driver may come after the daemon.
const RETRY: Duration = Duration::from_secs(60);
/// Readings in a row that bring nothing, after which the library is let go: a driver that was replaced needs a new one.
const FAILURES: u32 = 3;
/// More memory, or more power, than any GPU has is a sign of nonsense.
const IMPLAUSIBLE_BYTES: u64 = 1 << 50;
const IMPLAUSIBLE_MILLIWATTS: u32 = 10_000_000;
const IMPLAUSIBLE_CELSIUS: u32 = 200;

/// What a library says of one GPU, before it is judged. The error is its text.
#[derive(Clone, Debug)]
pub struct RawGpu {
    /// The product's name.
    pub name: Result<String, String>,
    /// Time that a kernel was running.
    pub usage_percent: Result<u32, String>,
    /// Used and total.
    pub memory_bytes: Result<(u64, u64), String>,
    /// Of the die.
    pub temperature_celsius: Result<u32, String>,
    /// Drawn now.
    pub power_milliwatts: Result<u32, String>,
    /// Where the driver throttles.
    pub power_limit_milliwatts: Result<u32, String>,
}

/// A loaded library.
pub trait GpuLibrary: Send {
    /// How many GPUs there are.
    ///
    /// # Errors
    /// The library's own text.
    fn count(&self) -> Result<u32, String>;

    /// What is known of one of them.
    ///
    /// # Errors
    /// The library's own text.
    fn gpu(&self, index: u32) -> Result<RawGpu, String>;
}

/// Loads the library, or says why there is none.
pub type Load = Box<dyn FnMut() -> Result<Box<dyn GpuLibrary>, ProbeError> + Send>;

/// Reads GPUs.
pub struct GpuProbe {
    load: Load,
    state: State,
}

enum State {
    NotLoaded,
    Loaded { library: Box<dyn GpuLibrary>, failures: u32 },
    Without { problem: ProbeError, retry_at: Instant },
}

impl GpuProbe {
    /// Reads through the library that `load` gives.
    pub fn new(load: Load) -> GpuProbe {
        GpuProbe { load, state: State::NotLoaded }
    }

    fn read_at(&mut self, now: Instant) -> Result<Vec<Gpu>, ProbeError> {
        match &self.state {
            State::Without { problem, retry_at } if now < *retry_at => return Err(problem.clone()),
            State::Loaded { .. } => {}
            State::NotLoaded | State::Without { .. } => match (self.load)() {
                Ok(library) => self.state = State::Loaded { library, failures: 0 },
                Err(problem) => return Err(self.do_without(problem, now)),
            },
        }
        let State::Loaded { library, failures } = &mut self.state else {
            return Err(ProbeError::Failed("the GPU library is not loaded".to_owned()));
        };
        let problem = match read_all(library.as_ref()) {
            Ok(gpus) if gpus.is_empty() => ProbeError::Absent("no GPU: the driver finds none".to_owned()),
            Ok(gpus) => {
                *failures = 0;
                return Ok(gpus);
            }
            Err(problem) => {
                *failures += 1;
                let problem = ProbeError::Failed(problem);
                if *failures < FAILURES {
                    return Err(problem);
                }
                problem
            }
        };
        Err(self.do_without(problem, now))
    }

    fn do_without(&mut self, problem: ProbeError, now: Instant) -> ProbeError {
        self.state = State::Without { problem: problem.clone(), retry_at: now + RETRY };
        problem
    }
}

impl Probe for GpuProbe {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        self.read_at(Instant::now()).map(Reading::Gpus)
    }
}

/// Every GPU of which something is known; a failure where there are some and nothing is known of any.
fn read_all(library: &dyn GpuLibrary) -> Result<Vec<Gpu>, String> {
    let count = library.count().map_err(|error| format!("the GPUs could not be counted: {error}"))?;
    let mut gpus = Vec::new();
    let mut failure = None;
    for index in 0..count.min(GPU_LIMIT) {
        match library.gpu(index).and_then(|raw| judge(index, raw)) {
            Ok(gpu) => gpus.push(gpu),
            Err(error) => failure = Some(format!("GPU {index} could not be read: {error}")),
        }
    }
    match failure {
        Some(failure) if gpus.is_empty() => Err(failure),
        _ => Ok(gpus),
    }
}

/// Takes what can be a figure; an error where there is none.
fn judge(index: u32, raw: RawGpu) -> Result<Gpu, String> {
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    let power = |milliwatts: &u32| *milliwatts < IMPLAUSIBLE_MILLIWATTS;
    let (used, total) = match raw.memory_bytes {
        Ok((used, total)) if (1..IMPLAUSIBLE_BYTES).contains(&total) => ((used <= total).then_some(used), Some(total)),
        _ => (None, None),
    };
    let gpu = Gpu {
        index,
        name: raw.name.as_ref().map_or_else(|_| String::new(), |name| clean(name)),
        usage_percent: raw
            .usage_percent
            .as_ref()
            .ok()
            .filter(|percent| **percent <= 100)
            .map(|percent| f64::from(*percent)),
        memory_total_bytes: total,
        memory_used_bytes: used,
        temperature_celsius: raw
            .temperature_celsius
            .ok()
            .filter(|celsius| *celsius < IMPLAUSIBLE_CELSIUS)
            .map(f64::from),
        power_watts: raw.power_milliwatts.ok().filter(power).map(watts),
        power_limit_watts: raw.power_limit_milliwatts.ok().filter(power).map(watts),
    };
    let nothing = Gpu { index, ..Gpu::default() };
    match (gpu == nothing, raw.name, raw.usage_percent) {
        (false, _, _) => Ok(gpu),
        (true, Err(error), _) | (true, _, Err(error)) => Err(error),
        (true, Ok(_), Ok(_)) => Err("it gives no figure".to_owned()),
    }
}

/// A name for labels: short, and without control characters.
fn clean(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(96).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn all_well() -> RawGpu {
        RawGpu {
            name: Ok("NVIDIA Test\n".to_owned()),
            usage_percent: Ok(37),
            memory_bytes: Ok((1 << 30, 4 << 30)),
            temperature_celsius: Ok(61),
            power_milliwatts: Ok(70_500),
            power_limit_milliwatts: Ok(300_000),
        }
    }

    fn nothing(why: &str) -> RawGpu {
        let why = why.to_owned();
        RawGpu {
            name: Err(why.clone()),
            usage_percent: Err(why.clone()),
            memory_bytes: Err(why.clone()),
            temperature_celsius: Err(why.clone()),
            power_milliwatts: Err(why.clone()),
            power_limit_milliwatts: Err(why),
        }
    }

    struct Fake {
        gpus: Result<Vec<Result<RawGpu, String>>, String>,
    }

    impl GpuLibrary for Fake {
        fn count(&self) -> Result<u32, String> {
            self.gpus.as_ref().map(|gpus| gpus.len() as u32).map_err(Clone::clone)
        }

        fn gpu(&self, index: u32) -> Result<RawGpu, String> {
            self.gpus.as_ref().unwrap()[index as usize].clone()
        }
    }

    fn probe(gpus: Result<Vec<Result<RawGpu, String>>, String>) -> (GpuProbe, Arc<AtomicU32>) {
        let loads = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&loads);
        let load = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Fake { gpus: gpus.clone() }) as Box<dyn GpuLibrary>)
        };
        (GpuProbe::new(Box::new(load)), loads)
    }

    #[test]
    fn every_figure_of_a_gpu_that_gives_them() {
        let (mut probe, _) = probe(Ok(vec![Ok(all_well())]));
        let gpu = probe.read_at(Instant::now()).unwrap().remove(0);
        let expected = Gpu {
            index: 0,
            name: "NVIDIA Test".to_owned(),
            usage_percent: Some(37.0),
            memory_total_bytes: Some(4 << 30),
            memory_used_bytes: Some(1 << 30),
            temperature_celsius: Some(61.0),
            power_watts: Some(70.5),
            power_limit_watts: Some(300.0),
        };
        assert_eq!(gpu, expected);
    }

    #[test]
    fn calls_that_fail_and_nonsense_leave_the_other_figures() {
        let garbage = RawGpu {
            name: Err("not supported".to_owned()),
            usage_percent: Ok(u32::MAX),
            memory_bytes: Ok((u64::MAX, u64::MAX)),
            temperature_celsius: Ok(40),
            power_milliwatts: Ok(u32::MAX),
            power_limit_milliwatts: Err("not supported".to_owned()),
        };
        let odd = RawGpu { memory_bytes: Ok((2000, 1000)), ..garbage.clone() };
        let none = RawGpu { memory_bytes: Ok((0, 0)), ..garbage.clone() };
        let (mut probe, _) = probe(Ok(vec![Ok(garbage), Ok(odd), Ok(none)]));
        let gpus = probe.read_at(Instant::now()).unwrap();
        let only =
            |index, total| Gpu { index, temperature_celsius: Some(40.0), memory_total_bytes: total, ..Gpu::default() };
        assert_eq!(gpus, [only(0, None), only(1, Some(1000)), only(2, None)]);
    }

    #[test]
    fn one_gpu_that_fell_off_the_bus_hides_no_other() {
        let (mut probe, _) = probe(Ok(vec![Err("lost".to_owned()), Ok(nothing("lost")), Ok(all_well())]));
        let gpus = probe.read_at(Instant::now()).unwrap();
        assert_eq!(gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_library_that_only_fails_is_let_go_and_loaded_again_later() {
        for gpus in [Err("driver mismatch".to_owned()), Ok(vec![Ok(nothing("driver mismatch"))])] {
            let (mut probe, loads) = probe(gpus);
            let now = Instant::now();
            for _ in 0..10 {
                let problem = probe.read_at(now).unwrap_err();
                assert!(matches!(&problem, ProbeError::Failed(why) if why.contains("driver mismatch")), "{problem:?}");
            }
            assert_eq!(loads.load(Ordering::Relaxed), 1);
            assert!(probe.read_at(now + RETRY).is_err());
            assert_eq!(loads.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn a_box_without_gpus_is_asked_once_a_minute_and_says_the_same() {
        let (mut probe, loads) = probe(Ok(Vec::new()));
        let now = Instant::now();
        let first = probe.read_at(now).unwrap_err();
        assert!(matches!(first, ProbeError::Absent(_)));
        for second in 1..60 {
            assert_eq!(probe.read_at(now + Duration::from_secs(second)).unwrap_err(), first);
        }
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    }
}
