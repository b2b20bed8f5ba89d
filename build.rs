//! Puts the commit into the binary: `EDGE_SERVICE_COMMIT` where that is set, else what git says. It needs no network, and a
//! tree without git builds as well.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rerun-if-env-changed=EDGE_SERVICE_COMMIT");
    let given = std::env::var("EDGE_SERVICE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let asked = || {
        let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
    };
    let commit = given.or_else(asked).map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo:rustc-env=EDGE_SERVICE_COMMIT={commit}");
}
