use std::io::Write;

use super::*;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

fn input(name: &str, shape: &[i64], optional: bool) -> TensorSpec {
    TensorSpec { name: name.into(), datatype: DataType::Fp32, shape: shape.to_vec(), optional }
}

fn spec(inputs: Vec<TensorSpec>) -> ModelSpec {
    ModelSpec { inputs, ..ModelSpec::default() }
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn counting(count: usize) -> Vec<u8> {
    floats(&(0..count).map(|x| x as f32).collect::<Vec<_>>())
}

fn npz(method: CompressionMethod, arrays: &[(&str, Vec<u8>)]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = zip::ZipWriter::new(file.as_file_mut());
    for (name, bytes) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
    file
}

fn opened(file: &tempfile::NamedTempFile, spec: &ModelSpec) -> Result<Samples, SamplesError> {
    open(file.path(), spec, None, SampleLimits { max_bytes: 1 << 20, max_samples: 1000, ..SampleLimits::default() })
}

fn refusal(arrays: &[(&str, Vec<u8>)], spec: &ModelSpec) -> String {
    match opened(&npz(CompressionMethod::Stored, arrays), spec) {
        Ok(_) => "nothing was refused".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn slices_come_in_any_order_stored_or_deflated() {
    let spec = spec(vec![input("b", &[-1, 2], false), input("a", &[1, 1, 3], false)]);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let arrays = [("a", npy("<f4", "(5, 1, 3)", &counting(15))), ("b", npy("<f4", "(5, 4, 2)", &counting(40)))];
        let file = npz(method, &arrays);
        let mut samples = opened(&file, &spec).unwrap();
        assert_eq!(samples.len(), 5);
        for index in [0, 3, 4, 1, 1] {
            let sample = samples.read(index).unwrap();
            let names: Vec<&str> = sample.inputs.iter().map(Tensor::name).collect();
            assert_eq!(names, ["b", "a"], "the model's order");
            assert_eq!(sample.inputs[0].shape(), [4, 2]);
            assert_eq!(sample.inputs[1].shape(), [1, 1, 3], "a leading 1 is put back");
            assert_eq!(sample.inputs[1].to_f64().unwrap()[0], index as f64 * 3.0);
            assert_eq!((sample.digest.len(), sample.name), (16, index.to_string()));
        }
        let all: Vec<Sample> = opened(&file, &spec).unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), 5);
        let digests: std::collections::BTreeSet<&String> = all.iter().map(|sample| &sample.digest).collect();
        assert_eq!(digests.len(), 5);
    }
}

#[test]
fn the_digest_is_that_of_the_contents_in_order() {
    let spec = spec(vec![input("x", &[1, 2], false)]);
    let file = npz(CompressionMethod::Stored, &[("arr_0", npy("<f4", "(1, 2)", &floats(&[1.0, 2.0])))]);
    let sample = opened(&file, &spec).unwrap().read(0).unwrap();
    let whole = Sha256::digest(floats(&[1.0, 2.0]));
    assert_eq!(sample.digest, whole.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(sample.inputs[0].name(), "x", "a lone array without a name is the only input's");
}

#[test]
fn what_does_not_fit_the_model_is_refused_at_once() {
    let one = spec(vec![input("x", &[-1, 3], false), input("w", &[1], true)]);
    let x = |shape: &str, count: usize| ("x", npy("<f4", shape, &counting(count)));
    assert!(refusal(&[x("(2, 4)", 8)], &one).contains("takes the shape [-1, 3], and one sample has [4]"));
    assert!(refusal(&[("x", npy("<f8", "(1, 3)", &[0; 24]))], &one).contains("takes FP32, not FP64"));
    assert!(refusal(&[("y", npy("<f4", "(1, 3)", &[0; 12]))], &one).contains("no input 'y'"));
    assert!(refusal(&[("w", npy("<f4", "(2, 1)", &[0; 8]))], &one).contains("no array for the model's input 'x'"));
    assert!(refusal(&[x("(2, 3)", 6), ("w", npy("<f4", "(3, 1)", &[0; 12]))], &one).contains("they must agree"));
    assert!(refusal(&[x("(0, 3)", 0)], &one).contains("no sample"));
    assert!(refusal(&[x("()", 1)], &one).contains("no axis"));
    assert!(refusal(&[x("(2, 3)", 5)], &one).contains("damaged"));
    assert!(refusal(&[x("(9223372036854775807, 3)", 6)], &one).contains("damaged"));
    assert!(refusal(&[x("(2000, 3)", 6000)], &one).contains("over the limit of 1000"));
    assert!(refusal(&[], &one).contains("no array"));
    assert!(refusal(&[x("(1, 500000, 3)", 3)], &one).contains("more than 1048576 bytes"));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not an archive").unwrap();
    assert!(opened(&file, &one).err().unwrap().to_string().contains("numpy.savez"));
    let missing = open(Path::new("/nowhere"), &one, None, SampleLimits::default());
    assert!(matches!(missing.err(), Some(SamplesError::Missing { .. })));
}

#[test]
fn one_that_is_not_finite_is_passed_over_and_named() {
    let spec = spec(vec![input("x", &[-1, 2], false)]);
    let array = npy("<f4", "(2, 2)", &floats(&[0.0, f32::NAN, 1.0, 2.0]));
    let mut samples = opened(&npz(CompressionMethod::Stored, &[("x", array)]), &spec).unwrap();
    let told = samples.read(0).unwrap_err().to_string();
    assert_eq!(told, "sample 0 is passed over: input 'x' holds a NaN or an infinity, at element 1");
    assert!(samples.read(1).is_ok());
}

#[test]
fn an_archive_cut_anywhere_is_refused_or_passed_over() {
    let spec = spec(vec![input("x", &[-1, 3], false)]);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let file = npz(method, &[("x", npy("<f4", "(4, 3)", &counting(12)))]);
        let whole = std::fs::read(file.path()).unwrap();
        for end in 0..whole.len() {
            std::fs::write(file.path(), &whole[..end]).unwrap();
            assert!(opened(&file, &spec).is_err(), "cut at {end}");
        }
        // Damage within the contents: an error or other numbers, never a panic.
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(file.path(), &bytes).unwrap();
            if let Ok(samples) = opened(&file, &spec) {
                samples.for_each(drop);
            }
        }
    }
}

#[test]
fn a_folder_of_arrays_is_read_by_name_and_one_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let spec = spec(vec![input("x", &[1, 3], false)]);
    let refused =
        |spec: &ModelSpec| open(folder.path(), spec, None, SampleLimits::default()).err().unwrap().to_string();
    assert!(refused(&spec).contains("the folder has no sample"), "{}", refused(&spec));
    at("note.txt", b"no sample");
    at("c.png", b"no picture");
    assert!(refused(&spec).contains("model.toml"), "{}", refused(&spec));
    at("b.npy", &npy("<f4", "(3,)", &counting(3)));
    at("a.npy", &npy("<f4", "(1, 3)", &counting(3)));
    at(".hidden.npy", b"");
    std::fs::create_dir(folder.path().join("more")).unwrap();
    at("more/d.npy", b"no array");
    let read: Vec<Result<Sample, Unreadable>> =
        open(folder.path(), &spec, None, SampleLimits::default()).unwrap().collect();
    let told: Vec<String> =
        read.iter().map(|one| one.as_ref().map_or_else(|bad| bad.name.clone(), |good| good.name.clone())).collect();
    assert_eq!(told, ["a.npy", "b.npy", "c.png", "more/d.npy"]);
    assert_eq!(read.iter().filter(|one| one.is_ok()).count(), 2);
    assert!(read[3].as_ref().unwrap_err().reason.contains("numpy.save"));

    let several = ModelSpec { inputs: vec![input("x", &[1], false), input("y", &[1], false)], ..spec };
    assert!(refused(&several).contains("several inputs"), "{}", refused(&several));
}

#[test]
fn numbers_are_spread_evenly_and_ascend() {
    let spec = spec(vec![input("x", &[-1, 1], false)]);
    let file = npz(CompressionMethod::Stored, &[("x", npy("<f4", "(10, 1)", &counting(10)))]);
    let samples = opened(&file, &spec).unwrap();
    assert_eq!(samples.spread(4), [0, 2, 5, 7]);
    assert_eq!(samples.spread(99), (0..10).collect::<Vec<_>>());
    assert_eq!(samples.spread(0), [] as [usize; 0]);
}
