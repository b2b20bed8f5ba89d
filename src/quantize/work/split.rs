//! Samples in two parts: those that ranges are found with, and those held out to compare the models on.

use std::collections::BTreeMap;

use super::lab::{HeldOut, outputs};
use super::report::SamplesReport;
use super::{Failure, Watch};
use crate::core::canary;
use crate::core::tensor::Tensor;
use crate::engine::Session;
use crate::samples::Samples;

/// One sample in so many is held out.
const HELD_OUT: usize = 4;
/// How many of the calibration samples are compared where none is held out.
const A_LOOK: usize = 8;
/// The most that the models are compared on.
const MOST_COMPARED: usize = 64;

/// The samples, and what is known of them.
pub(super) struct Split {
    samples: Option<Samples>,
    /// Numbers of those for ranges.
    calibrating: Vec<usize>,
    /// Numbers of those to compare on.
    comparing: Vec<usize>,
    /// Digests of all that were read, by number.
    digests: BTreeMap<usize, String>,
    pub report: SamplesReport,
}

impl Split {
    /// Parts them; without a search every one serves for ranges, and the comparison is made on the same.
    pub fn new(samples: Option<Samples>, path: Option<String>, limit: usize, hold_out: bool) -> Split {
        let picked = samples.as_ref().map(|samples| samples.spread(limit)).unwrap_or_default();
        let held = |place: usize| hold_out && place % HELD_OUT == HELD_OUT - 1;
        let part = |wanted: bool| -> Vec<usize> {
            picked.iter().enumerate().filter(|(place, _)| held(*place) == wanted).map(|(_, number)| *number).collect()
        };
        let (calibrating, mut comparing) = (part(false), part(true));
        let compared_on = match (&samples, comparing.is_empty()) {
            (None, _) => "made-up inputs",
            (_, true) => "calibration samples",
            (_, false) => "held out",
        };
        if comparing.is_empty() {
            // Nothing is decided by them: a look will do.
            let step = calibrating.len().div_ceil(A_LOOK).max(1);
            comparing = calibrating.iter().copied().step_by(step).collect();
        }
        comparing.truncate(MOST_COMPARED);
        let report = SamplesReport { path, compared_on, ..SamplesReport::default() };
        Split { samples, calibrating, comparing, digests: BTreeMap::new(), report }
    }

    /// Answers of the float model to the samples held out, or to made-up inputs.
    pub fn hold_out(&mut self, float: &mut dyn Session, watch: &dyn Watch) -> Result<HeldOut, Failure> {
        let names = outputs(float);
        let refuse = |reason: String| Failure::Unusable(format!("the model does not run: {reason}"));
        let mut held = HeldOut::default();
        if self.samples.is_none() {
            let inputs = canary::synthetic_inputs(float.spec()).ok_or_else(|| {
                Failure::Asked("the model's inputs are too large to be made up: give --calibration".to_owned())
            })?;
            held.ask(float, inputs, &names).map_err(|reason| {
                Failure::Asked(format!("the model refuses made-up inputs ({reason}): give --calibration"))
            })?;
            return Ok(held);
        }
        let numbers = std::mem::take(&mut self.comparing);
        watch.begin("answers of the float model", numbers.len() as u64);
        for number in numbers {
            watch.step();
            if !held.has_room() {
                break;
            }
            if let Some((name, inputs)) = self.read(number, watch) {
                held.ask(float, inputs, &names).map_err(refuse)?;
                self.report.compared.push(name);
            }
        }
        match held.pairs.is_empty() {
            true => Err(self.none()),
            false => Ok(held),
        }
    }

    /// Reads every sample for ranges, one at a time.
    pub fn calibrating(
        &mut self,
        each: &mut dyn FnMut(&[Tensor]) -> Result<(), String>,
        watch: &dyn Watch,
    ) -> Result<(), String> {
        self.report.calibrated.clear();
        for number in self.calibrating.clone() {
            if let Some((name, inputs)) = self.read(number, watch) {
                each(&inputs)?;
                self.report.calibrated.push(name);
            }
        }
        if self.report.calibrated.is_empty() { Err(self.none().to_string()) } else { Ok(()) }
    }

    /// How many samples ranges are found with.
    pub fn count(&self) -> usize {
        self.calibrating.len()
    }

    /// The digests of all that were used, in order.
    pub fn digests(&self) -> Vec<String> {
        self.digests.values().cloned().collect()
    }

    fn read(&mut self, number: usize, watch: &dyn Watch) -> Option<(String, Vec<Tensor>)> {
        match self.samples.as_mut()?.read(number) {
            Ok(sample) => {
                self.digests.insert(number, sample.digest);
                Some((sample.name, sample.inputs))
            }
            Err(unreadable) => {
                let line = unreadable.to_string();
                if !self.report.passed_over.contains(&line) {
                    watch.tell(&line);
                    self.report.passed_over.push(line);
                }
                None
            }
        }
    }

    fn none(&self) -> Failure {
        let path = self.report.path.clone().unwrap_or_default();
        Failure::Unusable(format!("samples {path}: none of them can be read"))
    }
}
