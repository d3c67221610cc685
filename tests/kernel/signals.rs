//! What comes from beside: signals, and another clock.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::run::{Client, Subject};
use super::trace::Trace;
use crate::support::campaign::scale;
use crate::support::text;

#[test]
fn a_storm_of_signals_changes_nothing() {
    let signals = scale(2_000, 60_000);
    let trace = Trace::new("signals");
    let tool = trace.tool(&["--seccomp-bpf", "-e", "trace=epoll_wait"]);
    let mut subject = Subject::start(&tool, &["127.0.0.1:0"]);
    let mut client = subject.opens("/t").expect("the server answers");
    // A thousand in a second: the read waits for what nobody writes. Between two lines of it the
    // server waits.
    let script = "coproc cat; for ((at = 0; at < $1; at++)); do kill -s USR1 $0 || exit; \
                  ((at % 20)) || echo; read -rt 0.001 -u ${COPROC[0]}; done; exit 0";
    let pid = subject.pid().to_string();
    let mut storm = Command::new("bash")
        .args(["-c", script, &pid, &signals.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs");
    let lines = BufReader::new(storm.stdout.take().expect("it is a pipe")).lines();
    for (at, _) in lines.enumerate() {
        client.echoes(&text(format!("message {at}"))).expect("nothing fails");
        subject.opens("/").and_then(Client::closes).expect("nothing fails");
    }
    let calm = storm.wait().expect("it is ours");
    assert!(calm.success(), "{calm}");
    subject.is_alive();
    subject.process.kills();
    let text = trace.text();
    let interrupted = text.lines().filter(|line| line.contains("EINTR")).count();
    assert!(interrupted > 0, "no wait was interrupted");
    println!("figure signals: {signals}, {interrupted} waits interrupted, 0 errors");
}

#[test]
fn a_clock_that_began_long_ago_is_as_good() {
    const OFFSET: &str = "100000";
    let tool = ["unshare", "--kill-child", "--time", "--monotonic", OFFSET, "--boottime", OFFSET];
    let mut subject = Subject::start(&tool, &["127.0.0.1:0", "100"]);
    let mut client = subject.opens("/t").expect("the server answers");
    for at in 0..3 {
        client.echoes(&text(format!("message {at}"))).expect("the server echoes");
        // A Ping comes when it is due, and who answers it stays.
        let ping = client.reads().expect("a Ping comes");
        assert_eq!(ping.first, 0x89, "{ping:?}");
        client.sends(&crate::support::pong(ping.payload)).expect("the server takes it");
    }
    subject.is_alive();
}
