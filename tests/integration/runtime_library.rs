//! Given a library that is no ONNX Runtime of today, the daemon says which, why, and what to do.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Setup, repository};

fn real() -> PathBuf {
    repository(".runtime/libonnxruntime.so")
}

/// A shared object made of a few lines of C.
fn made(folder: &Path, source: &str) -> PathBuf {
    let (text, library) = (folder.join("made.c"), folder.join("libonnxruntime.so"));
    std::fs::write(&text, source).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&text).status().unwrap();
    assert!(status.success());
    library
}

/// A library that tells this version and gives no interface.
fn of_version(folder: &Path, version: &str) -> PathBuf {
    let source = format!(
        "static const void* api(unsigned v) {{ return 0; }}\nstatic const char* version(void) {{ return {version}; }}\n\
         static const struct {{ const void* (*a)(unsigned); const char* (*b)(void); }} base = {{ api, version }};\n\
         const void* OrtGetApiBase(void) {{ return &base; }}\n"
    );
    made(folder, &source)
}

/// Starts with this library: ends with 69 and one line, which is given.
fn refused(library: &Path) -> String {
    let (code, out, log) = Setup::digits().set("model.runtime_library", library.display()).run("run");
    assert_eq!((code, out.as_str()), (69, ""), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert_eq!(lines[0]["level"], "ERROR");
    let message = lines[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(library.to_str().unwrap()) && message.contains("make runtime"), "{message}");
    // A check says the same, and goes on to the model.
    let setup = Setup::default().model(Path::new("/nowhere.onnx")).set("model.runtime_library", library.display());
    let (code, _, told) = setup.run("check");
    assert_eq!(code, 69, "{told}");
    assert!(told.contains(&message) && told.contains("/nowhere.onnx"), "{told}");
    message
}

#[test]
fn a_library_that_is_not_there_is_told_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&folder.path().join("none.so")).contains("no ONNX Runtime library"));
    // A folder stands for the library in it.
    let message = refused(folder.path());
    assert!(message.contains("libonnxruntime.so"), "{message}");
}

#[test]
fn what_is_no_library_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    std::fs::write(&library, "").unwrap();
    assert!(refused(&library).contains("no shared library"));
    std::fs::write(&library, "text, and so much of it that a header would have room in it ".repeat(9)).unwrap();
    assert!(refused(&library).contains("no 64-bit shared library"));
}

#[test]
fn a_library_cut_short_anywhere_is_refused_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    let whole = std::fs::read(real()).unwrap();
    for length in [64, 100, 4096, 1 << 20, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&library, &whole[..length]).unwrap();
        let message = refused(&library);
        assert!(message.contains("cut short"), "{length}: {message}");
    }
    // Nor is one without the table at its end, which tells where that is.
    let mut bare = whole[..whole.len() / 2].to_vec();
    bare[40..48].fill(0);
    bare[60..62].fill(0);
    std::fs::write(&library, &bare).unwrap();
    assert!(refused(&library).contains("cut short"));
}

#[test]
fn a_library_of_something_else_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&made(folder.path(), "int something_else;\n")).contains("no ONNX Runtime"));
    let lost = made(folder.path(), "extern int nowhere(void); int it(void) { return nowhere(); }\n");
    assert!(refused(&lost).contains("no ONNX Runtime"));
    let empty = made(folder.path(), "void* OrtGetApiBase(void) { return 0; }\n");
    assert!(refused(&empty).contains("no ONNX Runtime"));
}

#[test]
fn a_library_that_is_too_old_is_told_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    for (version, words) in [
        ("\"1.20.0\"", "its version is 1.20.0, and the oldest that is taken is 1.24"),
        ("\"1.31.1\"", "lacks the interface"),
        ("\"\"", "its version is , and the oldest"),
        ("\"new\\nest\"", "its version is newest, and the oldest"),
        ("0", "it tells no version"),
    ] {
        let message = refused(&of_version(folder.path(), version));
        assert!(message.contains(words), "{version}: {message}");
    }
}

#[test]
fn the_configured_library_comes_before_the_variable_and_the_known_places() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("none.so");
    let wrong = wrong.to_str().unwrap();
    let (code, _, told) = Setup::digits().env("ORT_DYLIB_PATH", wrong).run("check");
    assert_eq!(code, 69, "{told}");
    assert!(told.contains(wrong), "{told}");
    let right = Setup::digits().env("ORT_DYLIB_PATH", wrong).set("model.runtime_library", real().display());
    let (code, out, told) = right.run("check");
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("runtime: ONNX Runtime 1."), "{out}");
}
