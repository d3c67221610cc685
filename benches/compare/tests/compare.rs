//! `compare.py`, by its own tests: on results that are made up, and on servers of this package.

use std::{path::Path, process::Command};

#[test]
fn what_is_found_is_measured_and_shown() {
    let programs = Path::new(env!("CARGO_BIN_EXE_load")).parent().expect("it is in a folder");
    let status = Command::new("python3")
        .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/test_compare.py")])
        .env("PROGRAMS", programs)
        .status()
        .expect("Python is there");
    assert!(status.success());
}
