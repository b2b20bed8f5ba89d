//! Temperatures: `/sys/class/hwmon` and, for what is not there, `/sys/class/thermal`.
//!
//! Both give thousandths of a degree (`Documentation/hwmon/sysfs-interface.rst`, `Documentation/driver-api/thermal/sysfs-api.rst`).
//! The kernel shows most thermal zones as a hwmon chip of the zone's type too; such a zone is left out.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::files::Files;
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Reading, Temperature};

/// Sensors that are read at most.
const SENSOR_LIMIT: usize = 128;
/// After so many readings the sensors are looked for again: a drive or driver may have come.
const LOOK_AGAIN_READINGS: u32 = 60;
/// What a sensor can show; anything else is one that is not connected.
const PLAUSIBLE_CELSIUS: std::ops::RangeInclusive<f64> = -100.0..=250.0;

/// Reads temperature sensors.
pub struct TemperatureProbe {
    files: Files,
    sensors: Vec<Sensor>,
    readings: u32,
}

struct Sensor {
    name: String,
    input: PathBuf,
    critical_celsius: Option<f64>,
}

impl TemperatureProbe {
    /// Reads below `options.root`.
    pub fn new(options: &ProbeOptions) -> TemperatureProbe {
        TemperatureProbe { files: Files::new(&options.root), sensors: Vec::new(), readings: 0 }
    }

    fn look(&mut self) {
        self.sensors.clear();
        let hwmon = self.files.path("/sys/class/hwmon");
        let mut chips = Vec::new();
        for folder in numbered(&hwmon, "hwmon") {
            let chip = self.word(&folder.join("name")).unwrap_or_else(|| "hwmon".to_owned());
            self.look_at_chip(&folder, &chip);
            chips.push(chip);
        }
        let thermal = self.files.path("/sys/class/thermal");
        for folder in numbered(&thermal, "thermal_zone") {
            let zone = self.word(&folder.join("type")).unwrap_or_else(|| "thermal_zone".to_owned());
            // The kernel turns dashes of the type into underscores when it makes a chip of it.
            if !chips.contains(&zone) && !chips.contains(&zone.replace('-', "_")) {
                let critical_celsius = self.critical_trip(&folder);
                self.add(zone, folder.join("temp"), critical_celsius);
            }
        }
        number_the_equal(&mut self.sensors);
    }

    fn look_at_chip(&mut self, folder: &Path, chip: &str) {
        for index in sensor_indexes(folder) {
            let file = |kind: &str| folder.join(format!("temp{index}_{kind}"));
            let label = self.word(&file("label")).unwrap_or_else(|| format!("temp{index}"));
            let critical_celsius = self.celsius(&file("crit")).ok().flatten();
            self.add(format!("{chip} {label}"), file("input"), critical_celsius);
        }
    }

    fn add(&mut self, name: String, input: PathBuf, critical_celsius: Option<f64>) {
        if self.sensors.len() < SENSOR_LIMIT {
            self.sensors.push(Sensor { name, input, critical_celsius });
        }
    }

    fn critical_trip(&mut self, folder: &Path) -> Option<f64> {
        (0..16).find_map(|trip| {
            let kind = self.word(&folder.join(format!("trip_point_{trip}_type")))?;
            if kind != "critical" {
                return None;
            }
            self.celsius(&folder.join(format!("trip_point_{trip}_temp"))).ok()?
        })
    }

    fn word(&mut self, path: &Path) -> Option<String> {
        let text = self.files.read_at(path).ok()?;
        let word: String = text.trim().chars().filter(|letter| !letter.is_control()).take(64).collect();
        (!word.is_empty()).then_some(word)
    }

    fn celsius(&mut self, path: &Path) -> io::Result<Option<f64>> {
        Ok(parse_celsius(&self.files.read_at(path)?))
    }
}

impl Probe for TemperatureProbe {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        if self.readings == 0 {
            self.look();
        }
        self.readings = (self.readings + 1) % LOOK_AGAIN_READINGS;
        if self.sensors.is_empty() {
            return Err(ProbeError::Absent("this box has no temperature sensors".to_owned()));
        }
        let sensors = std::mem::take(&mut self.sensors);
        let mut temperatures = Vec::with_capacity(sensors.len());
        let mut failure = None;
        for sensor in &sensors {
            match self.celsius(&sensor.input) {
                Ok(Some(temperature_celsius)) => temperatures.push(Temperature {
                    sensor: sensor.name.clone(),
                    temperature_celsius,
                    critical_celsius: sensor.critical_celsius,
                }),
                Ok(None) => {}
                Err(error) => {
                    failure = Some(format!("sensor {} could not be read: {error}", sensor.name));
                    // Its driver may have gone; a drive that sleeps comes back under the same name.
                    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) {
                        self.readings = 0;
                    }
                }
            }
        }
        self.sensors = sensors;
        match failure {
            Some(failure) if temperatures.is_empty() => Err(ProbeError::Failed(failure)),
            _ => Ok(Reading::Temperatures(temperatures)),
        }
    }
}

/// The entries of a folder named `prefix` and a number, in the order of the numbers.
fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> =
        names(folder).filter_map(|name| Some((name.strip_prefix(prefix)?.parse().ok()?, folder.join(&name)))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).take(SENSOR_LIMIT).collect()
}

fn sensor_indexes(folder: &Path) -> Vec<u32> {
    let index = |name: String| name.strip_prefix("temp")?.strip_suffix("_input")?.parse().ok();
    let mut found: Vec<u32> = names(folder).filter_map(index).collect();
    found.sort_unstable();
    found
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// Two drives show the same chip and label: the second is `… #2`.
fn number_the_equal(sensors: &mut [Sensor]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for sensor in sensors {
        let count = seen.entry(sensor.name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            sensor.name = format!("{} #{count}", sensor.name);
        }
    }
}

/// Thousandths of a degree; none for what no sensor can show.
fn parse_celsius(text: &str) -> Option<f64> {
    let thousandths: i64 = text.trim().parse().ok()?;
    Some(thousandths as f64 / 1000.0).filter(|celsius| PLAUSIBLE_CELSIUS.contains(celsius))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::fake::Tree;

    fn read(probe: &mut TemperatureProbe) -> Result<Vec<(String, f64, Option<f64>)>, ProbeError> {
        probe.read().map(|reading| match reading {
            Reading::Temperatures(all) => {
                all.into_iter().map(|one| (one.sensor, one.temperature_celsius, one.critical_celsius)).collect()
            }
            other => panic!("{other:?}"),
        })
    }

    fn chip(tree: &Tree, number: u32, name: &str, label: &str, input: &str) {
        let folder = format!("sys/class/hwmon/hwmon{number}");
        tree.write(&format!("{folder}/name"), &format!("{name}\n"));
        tree.write(&format!("{folder}/temp1_label"), &format!("{label}\n"));
        tree.write(&format!("{folder}/temp1_input"), input);
    }

    #[test]
    fn chips_zones_and_twins() {
        let tree = Tree::new();
        chip(&tree, 10, "nvme", "Composite", "41850\n");
        chip(&tree, 2, "nvme", "Composite", "38850\n");
        tree.write("sys/class/hwmon/hwmon2/temp1_crit", "84850\n");
        tree.write("sys/class/hwmon/hwmon2/temp3_input", "-5000\n");
        tree.write("sys/class/thermal/thermal_zone0/type", "nvme\n");
        tree.write("sys/class/thermal/thermal_zone0/temp", "1000\n");
        tree.write("sys/class/thermal/thermal_zone1/type", "cpu-thermal\n");
        tree.write("sys/class/thermal/thermal_zone1/temp", "51000\n");
        tree.write("sys/class/thermal/thermal_zone1/trip_point_0_type", "passive\n");
        tree.write("sys/class/thermal/thermal_zone1/trip_point_1_type", "critical\n");
        tree.write("sys/class/thermal/thermal_zone1/trip_point_1_temp", "110000\n");
        tree.write("sys/class/thermal/cooling_device0/type", "Fan\n");
        let mut probe = TemperatureProbe::new(&tree.options());
        let expected = [
            ("nvme Composite".to_owned(), 38.85, Some(84.85)),
            ("nvme temp3".to_owned(), -5.0, None),
            ("nvme Composite #2".to_owned(), 41.85, None),
            ("cpu-thermal".to_owned(), 51.0, Some(110.0)),
        ];
        assert_eq!(read(&mut probe).unwrap(), expected);
    }

    #[test]
    fn no_sensors_is_absent_and_one_that_comes_or_goes_is_noticed() {
        let tree = Tree::new();
        let mut probe = TemperatureProbe::new(&tree.options());
        assert!(matches!(read(&mut probe), Err(ProbeError::Absent(_))));
        chip(&tree, 0, "coretemp", "Package", "50000\n");
        let found = (0..=LOOK_AGAIN_READINGS).find(|_| read(&mut probe).is_ok());
        assert!(found.is_some());
        chip(&tree, 1, "nvme", "Composite", "40000\n");
        for _ in 0..=LOOK_AGAIN_READINGS {
            read(&mut probe).unwrap();
        }
        assert_eq!(read(&mut probe).unwrap().len(), 2);
        tree.remove("sys/class/hwmon/hwmon1");
        assert_eq!(read(&mut probe).unwrap().len(), 1);
        assert_eq!(read(&mut probe).unwrap().len(), 1);
        tree.remove("sys/class/hwmon/hwmon0");
        assert!(matches!(read(&mut probe), Err(ProbeError::Failed(_))));
        assert!(matches!(read(&mut probe), Err(ProbeError::Absent(_))));
    }

    #[test]
    fn a_sensor_that_shows_nonsense_is_left_out() {
        let tree = Tree::new();
        chip(&tree, 0, "odd", "a\u{7}b", "-274000\n");
        chip(&tree, 1, "good", "c", "20000\n");
        let mut probe = TemperatureProbe::new(&tree.options());
        assert_eq!(read(&mut probe).unwrap(), [("good c".to_owned(), 20.0, None)]);
        for text in ["", "x", "999999999", "-9223372036854775808", "99999999999999999999", "20.5"] {
            assert_eq!(parse_celsius(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}|-?[0-9]{1,22}\n?") {
            parse_celsius(&text);
        }
    }
}
