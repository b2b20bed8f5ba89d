//! Clients that others made work as they are.

use std::process::Command;

use crate::harness::{Setup, repository};

/// Runs a script of tests/python against the daemon of a fixture.
fn check(script: &str, fixture: &str) {
    let python = repository(".venv/bin/python");
    assert!(python.exists(), "{} is not there: run `make fixtures`", python.display());
    let daemon = Setup::fixture(fixture).ready();
    let script = repository("tests/python").join(script);
    let output = Command::new(python).arg(script).arg(daemon.address.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tritonclient_works_unmodified_with_numbers() {
    check("check_tritonclient.py", "add_sub_int32");
}

#[test]
fn tritonclient_works_unmodified_with_strings() {
    check("check_tritonclient.py", "identity_bytes");
}
