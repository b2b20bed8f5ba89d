//! The text of `model.toml`, typed. `docs/model-toml.md` says the same for people: change both.

use toml::Table;

use super::pixels::{Color, Layout};
use super::resample::Filter;
use super::resize::Mode;
use super::scores::Activation;
use super::section::Section;
use crate::core::tensor::DataType;

/// The longest side of a model's input, in pixels.
const MAX_SIDE: u32 = 8192;

/// The most predictions that an answer may hold.
const MAX_TOP_K: u32 = 1000;

/// `model.toml` as read; nothing is yet compared with the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// `sample`, as written.
    pub sample: Option<String>,
    /// `[input]`
    pub input: InputSection,
    /// `[output]`
    pub output: OutputSection,
}

/// `[input]`
#[derive(Clone, Debug, PartialEq)]
pub struct InputSection {
    /// The model's input that takes the picture.
    pub name: Option<String>,
    /// In pixels.
    pub width: Option<u32>,
    /// In pixels.
    pub height: Option<u32>,
    /// Stretch, fit or crop.
    pub resize: Mode,
    /// Red, green, blue around a fitted picture.
    pub padding: [u8; 3],
    /// Crop only: the shorter side before the cut, in pixels.
    pub shorter_side: Option<u32>,
    /// The resampling.
    pub filter: Filter,
    /// The order of dimensions.
    pub layout: Layout,
    /// The order of channels.
    pub color: Color,
    /// The factor that comes first; by the datatype where absent.
    pub scale: Option<f64>,
    /// One number a channel.
    pub mean: Vec<f64>,
    /// One number a channel, none zero.
    pub std: Vec<f64>,
    /// The element type; the model's own where absent.
    pub dtype: Option<DataType>,
}

/// `[output]`
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSection {
    /// The model's output that holds the scores.
    pub name: Option<String>,
    /// What is done to the scores.
    pub activation: Activation,
    /// Predictions in an answer.
    pub top_k: Option<usize>,
    /// `labels`, as written.
    pub labels: Option<String>,
}

/// Words of `filter`: Pillow's names.
const FILTERS: &[(&str, Filter)] = &[
    ("bilinear", Filter::Bilinear),
    ("bicubic", Filter::Bicubic),
    ("lanczos", Filter::Lanczos),
    ("nearest", Filter::Nearest),
];

/// Words of `dtype`.
const DTYPES: &[(&str, DataType)] = &[
    ("fp32", DataType::Fp32),
    ("fp16", DataType::Fp16),
    ("bf16", DataType::Bf16),
    ("fp64", DataType::Fp64),
    ("uint8", DataType::Uint8),
    ("int8", DataType::Int8),
    ("uint16", DataType::Uint16),
    ("int16", DataType::Int16),
    ("uint32", DataType::Uint32),
    ("int32", DataType::Int32),
    ("uint64", DataType::Uint64),
    ("int64", DataType::Int64),
];

/// Reads the text.
///
/// # Errors
/// One line a problem: a fault of syntax alone, or every key that is unknown or has a wrong value.
pub fn parse(text: &str) -> Result<Manifest, Vec<String>> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![syntax_problem(text, &error)]),
    };
    let mut problems = Vec::new();
    let mut top = Section::new("", Some(&table), &mut problems);
    let sample = top.text("sample").map(str::to_owned);
    let (input, output) = (top.table("input"), top.table("output"));
    top.finish();
    let input = input_section(Section::new("input.", input, &mut problems));
    let output = output_section(Section::new("output.", output, &mut problems));
    if problems.is_empty() { Ok(Manifest { sample, input, output }) } else { Err(problems) }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message().replace('\n', ", "))
}

fn input_section(mut section: Section<'_, '_>) -> InputSection {
    let name = section.text("name").map(str::to_owned);
    let width = section.whole("width", 1, MAX_SIDE);
    let height = section.whole("height", 1, MAX_SIDE);
    let modes = [("stretch", Mode::Stretch), ("fit", Mode::Fit), ("crop", Mode::Crop)];
    let resize = section.word("resize", &modes);
    let padding = section.numbers("padding", 3);
    let shorter_side = section.whole("shorter_side", 1, MAX_SIDE);
    let filter = section.word("filter", FILTERS);
    let layout = section.word("layout", &[("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)]);
    let color = section.word("color", &[("rgb", Color::Rgb), ("bgr", Color::Bgr), ("gray", Color::Gray)]);
    let color = color.unwrap_or(Color::Rgb);
    let scale = section.number("scale");
    let mean = section.numbers("mean", color.channels());
    let std = section.numbers("std", color.channels());
    let dtype = section.word("dtype", DTYPES);

    let resize = resize.unwrap_or(Mode::Stretch);
    let mut bytes = [0; 3];
    if let Some(padding) = padding {
        for (byte, number) in bytes.iter_mut().zip(&padding) {
            *byte = *number as u8;
            if f64::from(*byte) != *number {
                section.problem("padding", &format!("has {number}, use whole numbers from 0 to 255"));
            }
        }
        if resize != Mode::Fit {
            section.problem("padding", "is given and nothing is padded, leave it out or set resize = \"fit\"");
        }
    }
    if let Some(side) = shorter_side {
        if resize != Mode::Crop {
            section.problem("shorter_side", "is given and nothing is cut, leave it out or set resize = \"crop\"");
        }
        for (key, canvas) in [("width", width), ("height", height)] {
            if let Some(canvas) = canvas.filter(|canvas| *canvas > side) {
                section.problem("shorter_side", &format!("is {side}, use at least the {key} of {canvas}"));
            }
        }
    }
    if scale == Some(0.0) {
        section.problem("scale", "is 0 and wipes out the picture, use another number");
    }
    if std.as_ref().is_some_and(|std| std.contains(&0.0)) {
        section.problem("std", "has a 0, by which nothing can be divided, use other numbers");
    }
    section.finish();
    InputSection {
        name,
        width,
        height,
        resize,
        padding: bytes,
        shorter_side,
        filter: filter.unwrap_or(Filter::Bilinear),
        layout: layout.unwrap_or(Layout::Nchw),
        color,
        scale,
        mean: mean.unwrap_or_else(|| vec![0.0; color.channels()]),
        std: std.unwrap_or_else(|| vec![1.0; color.channels()]),
        dtype,
    }
}

fn output_section(mut section: Section<'_, '_>) -> OutputSection {
    let name = section.text("name").map(str::to_owned);
    let activations = [("none", Activation::None), ("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)];
    let activation = section.word("activation", &activations).unwrap_or(Activation::None);
    let top_k = section.whole("top_k", 1, MAX_TOP_K).map(|top_k| top_k as usize);
    let labels = section.text("labels").map(str::to_owned);
    section.finish();
    OutputSection { name, activation, top_k, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err()
    }

    #[test]
    fn nothing_but_defaults_is_a_manifest() {
        let manifest = parse("").unwrap();
        assert_eq!(manifest.input.resize, Mode::Stretch);
        assert_eq!(manifest.input.filter, Filter::Bilinear);
        assert_eq!((manifest.input.mean, manifest.input.std), (vec![0.0; 3], vec![1.0; 3]));
        assert_eq!((manifest.output.top_k, manifest.output.activation), (None, Activation::None));
    }

    #[test]
    fn every_key_is_read() {
        let manifest = parse(
            r#"
            sample = "cat.jpg"
            [input]
            name = "x"
            width = 224
            height = 200
            resize = "crop"
            shorter_side = 256
            filter = "lanczos"
            layout = "nhwc"
            color = "gray"
            scale = 1
            mean = [127.5]
            std = [2]
            dtype = "int8"
            [output]
            name = "y"
            activation = "softmax"
            top_k = 3
            labels = "l.txt"
            "#,
        );
        let manifest = manifest.unwrap();
        assert_eq!(manifest.sample.as_deref(), Some("cat.jpg"));
        assert_eq!((manifest.input.width, manifest.input.height), (Some(224), Some(200)));
        assert_eq!(manifest.input.shorter_side, Some(256));
        assert_eq!(
            (manifest.input.scale, manifest.input.mean, manifest.input.std),
            (Some(1.0), vec![127.5], vec![2.0])
        );
        assert_eq!(manifest.input.dtype, Some(DataType::Int8));
        assert_eq!((manifest.output.labels.as_deref(), manifest.output.top_k), (Some("l.txt"), Some(3)));
    }

    #[test]
    fn all_problems_come_at_once_with_the_nearest_word() {
        let found = problems(
            r#"
            sampel = "x"
            output = 3
            [input]
            widht = 224
            height = 0
            resize = "streched"
            padding = [1, 2, 256]
            mean = [1, 2]
            std = [1, 0, 1]
            scale = nan
            dtype = 7
            zzz = 1
            "#,
        );
        let all = found.join("\n");
        for piece in [
            "sampel is no key, did you mean sample",
            "output is a number, write it as [output]",
            "input.widht is no key, did you mean input.width",
            "input.height is 0, use a whole number from 1 to 8192",
            "did you mean \"stretch\"",
            "input.padding has 256",
            "input.padding is given and nothing is padded",
            "input.mean is [1, 2], use a list of 3",
            "input.std has a 0",
            "input.scale is nan",
            "input.dtype is a number, write it in quotes",
            "input.zzz is no key, use one of name, width",
        ] {
            assert!(all.contains(piece), "no '{piece}' in:\n{all}");
        }
        assert_eq!(found.len(), 12, "{all}");
    }

    #[test]
    fn the_shorter_side_must_cover_the_canvas() {
        let all = problems("[input]\nwidth = 300\nheight = 200\nshorter_side = 256\n").join("\n");
        assert!(all.contains("nothing is cut") && all.contains("use at least the width of 300"), "{all}");
    }

    #[test]
    fn a_fault_of_syntax_names_its_line() {
        assert!(
            problems("name = \"m\"\n[input\n")[0].starts_with("line 2: "),
            "{:?}",
            problems("name = \"m\"\n[input\n")
        );
    }
}
