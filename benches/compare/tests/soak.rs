//! The soak, in a few seconds: nothing is left of those that came and ended in every way.

use std::process::Command;

#[test]
fn a_short_soak_leaves_nothing_behind() {
    let svg = std::env::temp_dir().join(format!("soak-{}.svg", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--messages", "100000", "--connections", "2000", "--seconds", "60", "--calm", "2"])
        .args(["--svg".as_ref(), svg.as_os_str()])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let found = String::from_utf8_lossy(&output.stdout);
    print!("{found}");
    let chart = std::fs::read_to_string(&svg).unwrap_or_default();
    drop(std::fs::remove_file(&svg));
    assert_eq!(chart.matches("<polyline").count(), 4, "{chart}");
    assert!(output.status.success() && said.is_empty(), "{said}{found}");
}
