//! A process for one test alone, for what belongs to a process.

use std::env;
use std::process::Command;

const ALONE: &str = "PUSHLOOP_TEST_ALONE";

/// Whether this process is there for this one test, `MODULE::NAME`. If it is not, another one runs
/// the test, and has passed it; the figures that it printed are printed here.
#[track_caller]
pub fn is_alone(test: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let program = env::current_exe().expect("the test knows its own file");
    let arguments = ["--exact", test, "--nocapture"];
    let output = Command::new(program).args(arguments).env(ALONE, "").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("test result: ok. 1 passed");
    assert!(passed, "{said}{}", String::from_utf8_lossy(&output.stderr));
    // The harness has written the beginning of the first line.
    let figures = said.lines().filter_map(|line| line.find("figure ").map(|at| &line[at..]));
    figures.for_each(|figure| println!("{figure}"));
    false
}
