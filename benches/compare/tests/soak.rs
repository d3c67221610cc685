//! The soak, in a few seconds: nothing is left of those who came and ended in every way.

use std::process::Command;

#[test]
fn a_short_soak_leaves_nothing_behind() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--messages", "100000", "--connections", "2000", "--seconds", "60", "--calm", "2"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let found = String::from_utf8_lossy(&output.stdout);
    print!("{found}");
    assert!(output.status.success() && said.is_empty(), "{said}{found}");
}
