//! `raw` and `subject` under `load`: each kind of traffic, and nothing is wrong.

use std::process::Command;

use pushloop_compare::Server;
use serde_json::Value;

fn start(program: &str) -> Server {
    Server::start(Command::new(program).arg("127.0.0.1:0")).expect("it says where it listens")
}

/// `load KIND` for a moment: `MODE [OPTION]...`.
fn load(server: &Server, kind: &str) -> Value {
    let (mode, more) = kind.split_once(' ').unwrap_or((kind, ""));
    let path = if mode == "fan" { "fan" } else { "echo" };
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args([mode, &format!("ws://{}/{path}", server.address)])
        .args(["--pid", &server.child.id().to_string()])
        .args(["--seconds", "0.2", "--warmup", "0.05", "--sleep"])
        .args(more.split_whitespace())
        .output()
        .expect("load runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{kind}: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let result: Value = serde_json::from_str(text.trim()).expect("one line");
    assert_eq!(result["errors"], 0);
    result
}

const KINDS: [&str; 10] = [
    "echo",
    "echo --payload 0",
    "echo --payload 125 --in-flight 16",
    "echo --payload 1024 --in-flight 64",
    "echo --payload 65536 --connections 4 --in-flight 4",
    "echo --rate 2000",
    "fan --connections 50",
    "fan --connections 50 --in-flight 64",
    "fan --connections 20 --payload 1024 --in-flight 8",
    "fan --connections 50 --publishers all",
];

#[test]
fn raw_echoes_and_fans_out() {
    let raw = start(env!("CARGO_BIN_EXE_raw"));
    for kind in KINDS {
        let result = load(&raw, &format!("{kind} --raw"));
        assert!(result["messages"].as_f64() > Some(0.0), "{kind}: {result}");
        assert!(result["server_cpu_us_per_message"].as_f64() > Some(0.0), "{kind}: {result}");
    }
    assert!(load(&raw, "connect --raw")["connections"].as_f64() > Some(1.0));
    load(&raw, "idle --connections 100 --raw");
}

#[test]
fn subject_echoes_and_fans_out() {
    let subject = start(env!("CARGO_BIN_EXE_subject"));
    load(&subject, "echo --payload 1048576");
    for kind in KINDS {
        let result = load(&subject, kind);
        assert!(result["messages"].as_f64() > Some(0.0), "{kind}: {result}");
    }
    assert!(load(&subject, "connect")["server_cpu_us_per_connection"].as_f64() > Some(0.0));
    assert_eq!(load(&subject, "idle --connections 100")["connections"], 100);
    for kind in ["echo --payload 512", "fan --payload 512 --connections 50", "echo --payload 5000"]
    {
        let result = load(&subject, &format!("{kind} --deflate"));
        assert_eq!(result["compressed_share"], 1.0, "{kind}: {result}");
        assert!(result["messages"].as_f64() > Some(0.0), "{kind}: {result}");
    }
}
