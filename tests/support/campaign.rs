//! What a test has more of in a campaign, which is when `FULL` is in the environment: of rounds, of
//! peers, and of the descriptors that these take.

use std::process::Command;
use std::time::Instant;

/// Whether this is a campaign, and not what each change must pass.
pub fn is_full() -> bool {
    std::env::var_os("FULL").is_some_and(|full| !full.is_empty())
}

/// The size of a test in each run, and in a campaign.
pub fn scale<T>(quick: T, full: T) -> T {
    if is_full() { full } else { quick }
}

// The tests read the clock to give up, and for figures.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets this process have so many descriptors.
pub fn needs_descriptors(count: usize) {
    let pid = std::process::id().to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new("prlimit").args(["--pid", &pid]).args(arguments).output();
        output.expect("prlimit is part of util-linux")
    };
    let limit = |column: &str| {
        let output = run(&["--nofile", "--raw", "--noheadings", "--output", column]);
        let text = String::from_utf8(output.stdout).expect("prlimit prints text");
        text.trim().parse().unwrap_or(usize::MAX)
    };
    if limit("SOFT") >= count {
        return;
    }
    let wanted = format!("--nofile={count}:{}", limit("HARD").max(count));
    let raised = run(&[&wanted]);
    assert!(raised.status.success(), "{count} descriptors are needed: {raised:?}");
}
