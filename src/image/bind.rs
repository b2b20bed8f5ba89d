//! `model.toml` against the model: which input takes the picture, which output holds the scores, and whether sizes,
//! datatypes and labels agree.

use std::sync::Arc;

use super::pixels::{Layout, Normaliser};
use super::resize::Canvas;
use super::scores::{self, Activation, Prediction};
use super::{ImageError, ImageModel, Picture};
use crate::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec};

/// A manifest that agrees with its model: makes the input from a picture and predictions from the scores.
#[derive(Clone, Debug)]
pub struct BoundImageModel {
    input: String,
    datatype: DataType,
    shape: Vec<usize>,
    canvas: Canvas,
    normaliser: Normaliser,
    output: String,
    activation: Activation,
    top_k: Option<usize>,
    labels: Option<Arc<[String]>>,
}

impl ImageModel {
    /// Compares with what the model declares.
    ///
    /// # Errors
    /// Every problem found, one line each.
    pub fn check(&self, spec: &ModelSpec) -> Result<BoundImageModel, Vec<String>> {
        let mut problems = Vec::new();
        let input = self.picture_input(spec, &mut problems);
        let output = self.scores_output(spec, &mut problems);
        let size = input.and_then(|input| self.canvas_size(input, &mut problems));
        let datatype = input.and_then(|input| self.datatype(input, &mut problems));
        if let Some(output) = output {
            self.check_labels(output, &mut problems);
        }
        let (Some(input), Some((width, height)), Some(datatype), Some(output), true) =
            (input, size, datatype, output, problems.is_empty())
        else {
            return Err(problems);
        };

        let section = &self.manifest.input;
        let scale = section.scale.unwrap_or_else(|| default_scale(datatype));
        let normaliser = Normaliser::new(section.layout, section.color, datatype, scale, &section.mean, &section.std)
            .ok_or_else(|| vec![format!("input '{}' is {datatype}, which holds no pixels", input.name)])?;
        let channels = section.color.channels();
        let sides = (height as usize, width as usize);
        let mut shape = match section.layout {
            Layout::Nchw => vec![channels, sides.0, sides.1],
            Layout::Nhwc => vec![sides.0, sides.1, channels],
        };
        if input.shape.len() == 4 {
            shape.insert(0, 1);
        }
        Ok(BoundImageModel {
            input: input.name.clone(),
            datatype,
            shape,
            canvas: Canvas {
                width,
                height,
                mode: section.resize,
                filter: section.filter,
                padding: section.padding,
                shorter_side: section.shorter_side,
            },
            normaliser,
            output: output.name.clone(),
            activation: self.manifest.output.activation,
            top_k: self.manifest.output.top_k,
            labels: self.labels.clone().or_else(|| spec.classes.get(&output.name).cloned()),
        })
    }

    /// The input that is named, or the only one of three or four dimensions. Others must be optional.
    fn picture_input<'s>(&self, spec: &'s ModelSpec, problems: &mut Vec<String>) -> Option<&'s TensorSpec> {
        let found = match &self.manifest.input.name {
            Some(name) => {
                let found = spec.inputs.iter().find(|input| input.name == *name);
                if found.is_none() {
                    let names = names(&spec.inputs);
                    problems
                        .push(format!("input.name is \"{name}\", the model's inputs are {names}: name one of them"));
                }
                found?
            }
            None => {
                let mut fitting =
                    spec.inputs.iter().filter(|input| !input.optional && matches!(input.shape.len(), 3 | 4));
                match (fitting.next(), fitting.next()) {
                    (Some(only), None) => only,
                    (None, _) => {
                        let names = names(&spec.inputs);
                        problems.push(format!("no input has 3 or 4 dimensions for a picture, there are {names}"));
                        return None;
                    }
                    (Some(_), Some(_)) => {
                        let names = names(&spec.inputs);
                        problems
                            .push(format!("several inputs could take the picture, set input.name to one of {names}"));
                        return None;
                    }
                }
            }
        };
        for other in spec.inputs.iter().filter(|other| !other.optional && other.name != found.name) {
            problems.push(format!("the model also needs input '{}', which no picture gives", other.name));
        }
        if !matches!(found.shape.len(), 3 | 4) {
            let rank = found.shape.len();
            problems
                .push(format!("input '{}' has {rank} dimensions, a picture has 3, or 4 with its batch", found.name));
            return None;
        }
        Some(found)
    }

    /// Width and height: as `model.toml` and the model say, where they agree.
    fn canvas_size(&self, input: &TensorSpec, problems: &mut Vec<String>) -> Option<(u32, u32)> {
        let section = &self.manifest.input;
        let dims = match input.shape.as_slice() {
            [batch, dims @ ..] if dims.len() == 3 => {
                if *batch >= 0 && *batch != 1 {
                    problems.push(format!("input '{}' takes batches of {batch}, a frame is a batch of 1", input.name));
                }
                dims
            }
            dims => dims,
        };
        let &[first, second, third] = dims else { return None };
        let (channels, height, width, layout) = match section.layout {
            Layout::Nchw => (first, second, third, "nchw"),
            Layout::Nhwc => (third, first, second, "nhwc"),
        };
        let want = section.color.channels() as i64;
        if channels >= 0 && channels != want {
            let other = if section.layout == Layout::Nchw { third } else { first };
            let hint = match (section.layout, channels) {
                (Layout::Nchw, _) if other == want => ", did you mean layout = \"nhwc\"",
                (Layout::Nhwc, _) if other == want => ", did you mean layout = \"nchw\"",
                (_, 1) => ", did you mean color = \"gray\"",
                (_, 3) => ", did you mean color = \"rgb\"",
                _ => "",
            };
            problems.push(format!(
                "input '{}' of shape {:?} has {channels} channels in layout {layout}, input.color gives {want}{hint}",
                input.name, input.shape
            ));
        }
        let mut side = |key: &str, said: Option<u32>, fixed: i64| match (said, u32::try_from(fixed).ok()) {
            (Some(said), Some(fixed)) if said != fixed => {
                problems.push(format!("input.{key} is {said}, input '{}' has {fixed}: they must agree", input.name));
                None
            }
            (Some(side), _) => Some(side),
            (None, Some(0)) => {
                problems.push(format!("input '{}' has a {key} of 0, no picture fits", input.name));
                None
            }
            (None, Some(side)) => Some(side),
            (None, None) => {
                problems.push(format!("input.{key} is missing and input '{}' leaves it open: set it", input.name));
                None
            }
        };
        let (width, height) = (side("width", section.width, width), side("height", section.height, height));
        for (key, canvas) in [("width", width), ("height", height)] {
            if let (Some(shorter), Some(canvas)) = (section.shorter_side, canvas)
                && shorter < canvas
            {
                problems.push(format!("input.shorter_side is {shorter}, use at least the {key} of {canvas}"));
            }
        }
        Some((width?, height?))
    }

    fn datatype(&self, input: &TensorSpec, problems: &mut Vec<String>) -> Option<DataType> {
        match self.manifest.input.dtype {
            Some(said) if said != input.datatype => {
                let name = &input.name;
                problems.push(format!(
                    "input.dtype is \"{}\", input '{name}' is {}: leave dtype out or let them agree",
                    said.name().to_lowercase(),
                    input.datatype
                ));
                None
            }
            _ if matches!(input.datatype, DataType::Bool | DataType::Bytes) => {
                problems.push(format!("input '{}' is {}, which holds no pixels", input.name, input.datatype));
                None
            }
            _ => Some(input.datatype),
        }
    }

    /// The output that is named, or the only one.
    fn scores_output<'s>(&self, spec: &'s ModelSpec, problems: &mut Vec<String>) -> Option<&'s TensorSpec> {
        let outputs = names(&spec.outputs);
        let found = match (&self.manifest.output.name, spec.outputs.as_slice()) {
            (Some(name), all) => {
                let found = all.iter().find(|output| output.name == *name);
                if found.is_none() && spec.left_out.contains(name) {
                    problems.push(format!("output '{name}' is no tensor: set output.name to one of {outputs}"));
                } else if found.is_none() {
                    problems.push(format!("output.name is \"{name}\", the outputs are {outputs}: name one of them"));
                }
                found?
            }
            (None, [only]) => only,
            (None, []) => {
                problems.push("the model has no output that is a tensor".to_owned());
                return None;
            }
            (None, _) => {
                problems.push(format!("several outputs could hold the scores, set output.name to one of {outputs}"));
                return None;
            }
        };
        if found.datatype == DataType::Bytes {
            problems.push(format!("output '{}' holds strings, scores are numbers", found.name));
            return None;
        }
        if let [batch, _, ..] = found.shape.as_slice()
            && *batch >= 0
            && *batch != 1
        {
            problems.push(format!("output '{}' has a batch of {batch}, a frame is a batch of 1", found.name));
        }
        Some(found)
    }

    /// As many labels as scores, where the model fixes their number.
    fn check_labels(&self, output: &TensorSpec, problems: &mut Vec<String>) {
        let Some(labels) = &self.labels else { return };
        let dims = match output.shape.as_slice() {
            [_, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let count = dims.iter().try_fold(1u64, |count, dim| count.checked_mul(u64::try_from(*dim).ok()?));
        if let Some(count) = count.filter(|count| *count != labels.len() as u64) {
            problems.push(format!(
                "{} has {} labels, output '{}' gives {count} scores: they must agree",
                self.labels_path.display(),
                labels.len(),
                output.name
            ));
        }
    }
}

impl BoundImageModel {
    /// The input that takes the picture.
    pub fn input_name(&self) -> &str {
        &self.input
    }

    /// The output that holds the scores.
    pub fn output_name(&self) -> &str {
        &self.output
    }

    /// The classes' names, where there are any.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// The shape that [`BoundImageModel::preprocess`] gives: `[1, C, H, W]` or `[1, H, W, C]`, without the 1 where the
    /// model's input has three dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The model's input from a picture: resized, in the model's colour order and layout, each element
    /// `(x * scale - mean) / std` in the model's datatype.
    ///
    /// # Errors
    /// [`ImageError::Preprocess`], which no picture should cause.
    pub fn preprocess(&self, picture: &Picture) -> Result<Tensor, ImageError> {
        let pixels = self.canvas.paint(picture);
        let elements = self
            .normaliser
            .apply(&pixels)
            .ok_or_else(|| ImageError::Preprocess { reason: "the tables do not fit the datatype".to_owned() })?;
        Ok(Tensor::new(self.input.as_str(), self.datatype, self.shape.clone(), TensorData::Raw(elements))?)
    }

    /// The best predictions, best first: as many as `asked` for, else as `model.toml` says, else `otherwise`, and never more
    /// than there are.
    /// Equal scores keep the order of their indices; what is not a number comes last.
    ///
    /// # Errors
    /// [`ImageError::Scores`] if the output is missing, is not of one picture, or has another number of scores than
    /// there are labels.
    pub fn postprocess(
        &self,
        outputs: &[Tensor],
        asked: Option<usize>,
        otherwise: usize,
    ) -> Result<Vec<Prediction>, ImageError> {
        let refuse = |reason: String| ImageError::Scores { output: self.output.clone(), reason };
        let output = outputs.iter().find(|output| output.name() == self.output);
        let output = output.ok_or_else(|| refuse("the model did not give it".to_owned()))?;
        let scores = scores::read(output)?;
        if let Some(labels) = self.labels.as_ref().filter(|labels| labels.len() != scores.len()) {
            let (scores, labels) = (scores.len(), labels.len());
            return Err(refuse(format!("it has {scores} scores for {labels} labels: correct the file of labels")));
        }
        Ok(scores::rank(scores, self.activation, asked.or(self.top_k).unwrap_or(otherwise), self.labels.as_deref()))
    }
}

/// Floats are taken to be of 0 to 1; integers of 0 to 255, as quantised models and models with their own scaling are.
fn default_scale(datatype: DataType) -> f64 {
    match datatype {
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => 1.0 / 255.0,
        _ => 1.0,
    }
}

fn names(specs: &[TensorSpec]) -> String {
    let names: Vec<String> = specs.iter().map(|spec| format!("'{}' {:?}", spec.name, spec.shape)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
