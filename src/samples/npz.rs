//! A `.npz`: a ZIP archive of `.npy` arrays, stored or deflated, one an input; the first axis counts the samples. Slices are
//! read as they are asked for, never a whole array.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

use bytes::Bytes;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::{SampleLimits, entering};
use crate::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec, element_count};
use crate::image;

/// More arrays than any model has inputs.
const MOST_ARRAYS: usize = 1024;

pub(super) struct Arrays {
    arrays: Vec<Array>,
    samples: usize,
}

/// One array, and the stream that stands somewhere in it.
struct Array {
    name: String,
    datatype: DataType,
    /// The shape with which a slice enters the model.
    shape: Vec<usize>,
    slice_bytes: usize,
    file: File,
    place: Place,
    stream: Option<Stream>,
    /// The slice at whose start the stream stands.
    at: usize,
}

/// Where an archive keeps an array.
#[derive(Clone, Copy)]
struct Place {
    start: u64,
    length: u64,
    deflated: bool,
    /// Bytes of the array's head, once it is unpacked.
    head: u64,
}

enum Stream {
    Stored(Take<BufReader<File>>),
    Deflated(Box<DeflateDecoder<Take<BufReader<File>>>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Stored(stream) => stream.read(buffer),
            Stream::Deflated(stream) => stream.read(buffer),
        }
    }
}

/// Counts what is read through it.
struct Counted<'a, R>(&'a mut R, u64);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 += count as u64;
        Ok(count)
    }
}

impl Arrays {
    pub(super) fn open(path: &Path, spec: &ModelSpec, limits: SampleLimits) -> Result<Arrays, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut archive = ZipArchive::new(BufReader::new(file))
            .map_err(|error| format!("it is no .npz ({error}): write it with numpy.savez, or give a folder"))?;
        if archive.len() > MOST_ARRAYS {
            return Err(format!("it has {} arrays: give one with an array an input", archive.len()));
        }
        let mut arrays = Vec::new();
        let mut counts = Vec::new();
        let alone = archive.len() == 1;
        for index in 0..archive.len() {
            let (name, place, size) = entry(&mut archive, index)?;
            let input = input(spec, &name, alone)?;
            let file = File::open(path).map_err(|error| error.to_string())?;
            let (array, count) =
                Array::open(file, place, size, input, limits).map_err(|reason| format!("array '{name}': {reason}"))?;
            counts.push((name, count));
            arrays.push(array);
        }
        let missing = |input: &&TensorSpec| !input.optional && arrays.iter().all(|array| array.name != input.name);
        if let Some(input) = spec.inputs.iter().find(missing) {
            return Err(format!("it has no array for the model's input '{}'", input.name));
        }
        let Some((first, samples)) = counts.first() else { return Err("it has no array".to_owned()) };
        if let Some((other, count)) = counts.iter().find(|(_, count)| count != samples) {
            return Err(format!("array '{first}' counts {samples} samples and '{other}' {count}: they must agree"));
        }
        match *samples {
            0 => Err("its arrays have no sample".to_owned()),
            count if count > limits.max_samples => {
                Err(format!("it has {count} samples, over the limit of {}", limits.max_samples))
            }
            samples => Ok(Arrays { arrays, samples }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.samples
    }

    pub(super) fn read(&mut self, index: usize) -> Result<Vec<Tensor>, String> {
        self.arrays.iter_mut().map(|array| array.read(index)).collect()
    }
}

/// The name without its ending, where the contents lie, and their size once unpacked.
fn entry(archive: &mut ZipArchive<BufReader<File>>, index: usize) -> Result<(String, Place, u64), String> {
    let damaged = |error: zip::result::ZipError| format!("it is damaged ({error}): write it with numpy.savez");
    let entry = archive.by_index_raw(index).map_err(damaged)?;
    let name = entry.name().map_err(damaged)?.into_owned();
    let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
    let deflated = match entry.compression() {
        CompressionMethod::Stored => false,
        CompressionMethod::Deflated => true,
        other => return Err(format!("array '{name}' is packed by {other:?}: write it with numpy.savez_compressed")),
    };
    if entry.encrypted() {
        return Err(format!("array '{name}' is encrypted: write it with numpy.savez"));
    }
    let start = entry.data_start().ok_or_else(|| format!("array '{name}' has no contents"))?;
    Ok((name, Place { start, length: entry.compressed_size(), deflated, head: 0 }, entry.size()))
}

/// The input that the array is for: of its name; or the only one, where the archive has one array without a name of its own.
fn input<'s>(spec: &'s ModelSpec, name: &str, alone: bool) -> Result<&'s TensorSpec, String> {
    if let Some(input) = spec.inputs.iter().find(|input| input.name == name) {
        return Ok(input);
    }
    let required: Vec<&TensorSpec> = spec.inputs.iter().filter(|input| !input.optional).collect();
    match required.as_slice() {
        [only] if alone && name == "arr_0" => Ok(only),
        _ => {
            let names: Vec<String> = spec.inputs.iter().map(|input| format!("'{}'", input.name)).collect();
            Err(format!("the model has no input '{name}': name its arrays {}", names.join(", ")))
        }
    }
}

impl Array {
    fn open(
        file: File,
        mut place: Place,
        size: u64,
        input: &TensorSpec,
        limits: SampleLimits,
    ) -> Result<(Array, usize), String> {
        let mut stream = Stream::open(&file, place).map_err(|error| error.to_string())?;
        let mut counted = Counted(&mut stream, 0);
        let (datatype, shape) = image::read_npy_head(&mut counted)?;
        place.head = counted.1;
        let Some((count, one)) = shape.split_first() else {
            return Err("it has no axis that counts the samples".to_owned());
        };
        let shape = entering(input, datatype, one)?;
        let slice = element_count(&shape).and_then(|elements| elements.checked_mul(datatype.element_bytes()?));
        let slice = slice.filter(|bytes| *bytes as u64 <= limits.max_bytes);
        let slice = slice.ok_or_else(|| format!("one sample has more than {} bytes", limits.max_bytes))?;
        let whole = (slice as u64).checked_mul(*count as u64).and_then(|data| data.checked_add(place.head));
        if whole != Some(size) {
            return Err(format!("its shape {:?} does not go with its {size} bytes: the file is damaged", one));
        }
        let name = input.name.clone();
        Ok((Array { name, datatype, shape, slice_bytes: slice, file, place, stream: None, at: 0 }, *count))
    }

    fn read(&mut self, index: usize) -> Result<Tensor, String> {
        let name = self.name.clone();
        let contents = self.contents(index).map_err(|error| {
            self.stream = None;
            format!("array '{name}': {error}")
        })?;
        if self.datatype == DataType::Bool && contents.iter().any(|byte| *byte > 1) {
            return Err(format!("array '{name}': a boolean is neither 0 nor 1"));
        }
        let data = TensorData::Raw(Bytes::from(contents));
        Tensor::new(name, self.datatype, self.shape.clone(), data).map_err(|error| error.to_string())
    }

    fn contents(&mut self, index: usize) -> std::io::Result<Vec<u8>> {
        let mut stream = match self.stream.take() {
            Some(stream) if self.at <= index => stream,
            _ => {
                self.at = 0;
                let mut stream = Stream::open(&self.file, self.place)?;
                stream.pass(self.place.head)?;
                stream
            }
        };
        stream.pass((index - self.at) as u64 * self.slice_bytes as u64)?;
        let mut contents = vec![0u8; self.slice_bytes];
        stream.read_exact(&mut contents)?;
        self.at = index + 1;
        self.stream = Some(stream);
        Ok(contents)
    }
}

impl Stream {
    fn open(file: &File, place: Place) -> std::io::Result<Stream> {
        // The clones share one place in the file, but each array's file was opened for itself and has one stream at a time.
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(place.start))?;
        let contents = BufReader::with_capacity(64 << 10, file).take(place.length);
        Ok(if place.deflated {
            Stream::Deflated(Box::new(DeflateDecoder::new(contents)))
        } else {
            Stream::Stored(contents)
        })
    }

    /// Leaves `bytes` out.
    fn pass(&mut self, bytes: u64) -> std::io::Result<()> {
        match self {
            Stream::Stored(stream) => {
                let offset = i64::try_from(bytes).map_err(std::io::Error::other)?;
                stream.get_mut().seek_relative(offset)?;
                stream.set_limit(stream.limit().saturating_sub(bytes));
                Ok(())
            }
            Stream::Deflated(stream) => {
                let passed = std::io::copy(&mut stream.take(bytes), &mut std::io::sink())?;
                if passed == bytes { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
            }
        }
    }
}
