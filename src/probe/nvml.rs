//! NVIDIA's management library, loaded at run time: the one file that knows it.

use std::ffi::OsStr;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use super::ProbeError;
use super::gpu::{GpuLibrary, RawGpu};

/// The library's names; the one without a number comes with development packages only.
const NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Loads and initialises the library.
///
/// # Errors
/// Absent where there is no library or no driver, failed where they are there and do not work.
pub fn load() -> Result<Box<dyn GpuLibrary>, ProbeError> {
    load_from(&NAMES.map(OsStr::new))
}

fn load_from(names: &[&OsStr]) -> Result<Box<dyn GpuLibrary>, ProbeError> {
    let mut problem = ProbeError::Absent("no GPU: NVML is not installed".to_owned());
    for name in names {
        match Nvml::builder().lib_path(name).init() {
            Ok(nvml) => return Ok(Box::new(nvml)),
            Err(error) if is_missing_file(&error) => {}
            Err(NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound) => {
                problem = ProbeError::Absent("no GPU: NVML finds no driver".to_owned());
            }
            Err(error) => return Err(ProbeError::Failed(format!("NVML does not start: {error}"))),
        }
    }
    Err(problem)
}

/// The dynamic linker tells a library that is not there from one that is broken in words only.
fn is_missing_file(error: &NvmlError) -> bool {
    matches!(error, NvmlError::LibloadingError(why) if why.to_string().contains("cannot open shared object file"))
}

impl GpuLibrary for Nvml {
    fn count(&self) -> Result<u32, String> {
        self.device_count().map_err(text)
    }

    fn gpu(&self, index: u32) -> Result<RawGpu, String> {
        let device = self.device_by_index(index).map_err(text)?;
        Ok(RawGpu {
            name: device.name().map_err(text),
            usage_percent: device.utilization_rates().map(|rates| rates.gpu).map_err(text),
            memory_bytes: device.memory_info().map(|memory| (memory.used, memory.total)).map_err(text),
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).map_err(text),
            power_milliwatts: device.power_usage().map_err(text),
            power_limit_milliwatts: device.enforced_power_limit().map_err(text),
        })
    }
}

fn text(error: NvmlError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use crate::core::sample::Reading;
    use crate::probe::Probe;
    use crate::probe::gpu::GpuProbe;

    /// A library with the calls that are used; what they answer is up to its makers. The numbers are nvml.h's.
    const SOURCE: &str = r#"
        typedef void *device;
        typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
        typedef struct { unsigned gpu, memory; } rates;
        static int copy(char *to, unsigned size, const char *from) { unsigned i = 0;
            for (; from[i] && i + 1 < size; i++) to[i] = from[i]; to[i] = 0; return 0; }
        int nvmlInit_v2(void) { return INIT; }
        int nvmlShutdown(void) { return 0; }
        int nvmlSystemGetDriverVersion(char *to, unsigned size) { return copy(to, size, "550.54"); }
        int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return COUNT; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *to) { *to = (device)1; return HANDLE; }
        int nvmlDeviceGetName(device d, char *to, unsigned size) { return copy(to, size, "Fake GPU"); }
        int nvmlDeviceGetUtilizationRates(device d, rates *to) { to->gpu = 12; to->memory = 3; return 0; }
        int nvmlDeviceGetMemoryInfo_v2(device d, memory *to) { to->total = to->used = ~0ull; return 0; }
        int nvmlDeviceGetTemperature(device d, int sensor, unsigned *to) { *to = 44; return 0; }
        int nvmlDeviceGetPowerUsage(device d, unsigned *to) { return 3; }
    "#;

    fn fake(folder: &Path, init: u32, count: u32, handle: u32) -> PathBuf {
        let (source, library) = (folder.join("nvml.c"), folder.join(format!("libfake-{init}-{count}-{handle}.so")));
        std::fs::write(&source, SOURCE).unwrap();
        let defined =
            [("INIT", init), ("COUNT", count), ("HANDLE", handle)].map(|(name, value)| format!("-D{name}={value}"));
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args(defined).arg(&source).status();
        assert!(made.unwrap().success());
        library
    }

    #[test]
    fn a_library_that_knows_half_gives_that_half() {
        let folder = tempfile::tempdir().unwrap();
        let library = fake(folder.path(), 0, 0, 0);
        let mut probe = GpuProbe::new(Box::new(move || load_from(&[library.as_os_str()])));
        let Reading::Gpus(gpus) = probe.read().unwrap() else { panic!("no GPUs") };
        let gpu = &gpus[0];
        assert_eq!(
            (gpu.name.as_str(), gpu.usage_percent, gpu.temperature_celsius),
            ("Fake GPU", Some(12.0), Some(44.0))
        );
        assert_eq!((gpu.memory_total_bytes, gpu.memory_used_bytes), (None, None), "all ones");
        assert_eq!(
            (gpu.power_watts, gpu.power_limit_watts),
            (None, None),
            "not supported, and a call that is not there"
        );
    }

    #[test]
    fn a_library_that_does_not_start_or_only_fails() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |init, count, handle| {
            let library = fake(folder.path(), init, count, handle);
            GpuProbe::new(Box::new(move || load_from(&[library.as_os_str()]))).read().unwrap_err()
        };
        assert!(matches!(problem(9, 0, 0), ProbeError::Absent(why) if why.contains("driver")));
        assert!(matches!(problem(999, 0, 0), ProbeError::Failed(why) if why.contains("does not start")));
        assert!(matches!(problem(0, 999, 0), ProbeError::Failed(why) if why.contains("counted")));
        assert!(matches!(problem(0, 0, 15), ProbeError::Failed(why) if why.contains("GPU 0")));
    }

    #[test]
    fn no_library_is_no_gpu_and_one_that_is_none_fails() {
        let problem = |path: &str| load_from(&[OsStr::new(path)]).err().unwrap();
        assert!(matches!(problem("/no/such/libnvidia-ml.so.1"), ProbeError::Absent(_)));
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("libtext.so");
        std::fs::write(&text, "no library").unwrap();
        assert!(matches!(problem(text.to_str().unwrap()), ProbeError::Failed(_)));
    }
}
