//! `raw` and `subject` under `load`: each kind of traffic, and nothing is wrong.

use std::{fs, path::Path, process::Command};

use pushloop_compare::Server;
use serde_json::Value;

fn start(program: &str) -> Server {
    Server::start(Command::new(program).arg("127.0.0.1:0")).expect("it says where it listens")
}

/// `load KIND` for a moment: `MODE [OPTION]...`.
fn load(server: &Server, kind: &str) -> Value {
    load_over("ws", server, kind)
}

/// Where others have the processors, no message may come in so short a time: then it is a longer one.
fn load_over(scheme: &str, server: &Server, kind: &str) -> Value {
    let mut results =
        ["0.2", "2", "10"].iter().map(|seconds| measured(scheme, server, kind, seconds));
    results.find(|it| it["messages"] != 0.0).expect("some messages within 10 s")
}

fn measured(scheme: &str, server: &Server, kind: &str, seconds: &str) -> Value {
    let (mode, more) = kind.split_once(' ').unwrap_or((kind, ""));
    let path = if mode == "fan" { "fan" } else { "echo" };
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args([mode, &format!("{scheme}://{}/{path}", server.address)])
        .args(["--pid", &server.child.id().to_string()])
        .args(["--seconds", seconds, "--warmup", "0.05", "--sleep"])
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

#[test]
fn subject_does_the_same_over_tls() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certificates");
    // Those of an earlier run may have expired; at the first there are none.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a new folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/operations/certificates.sh");
    assert!(Command::new(script).arg(&folder).status().expect("it is there").success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_subject"));
    command.arg("127.0.0.1:0").env("CERTIFICATES", &folder);
    let subject = Server::start(&mut command).expect("it says where it listens");
    let authority = format!(" --authority {}", folder.join("authority.pem").display());
    let load = |kind: &str| load_over("wss", &subject, &(kind.to_owned() + &authority));
    for kind in ["echo", "echo --payload 65536 --connections 4 --in-flight 4", "fan --in-flight 64"]
    {
        assert!(load(kind)["messages"].as_f64() > Some(0.0), "{kind}");
    }
    assert!(load("connect")["server_cpu_us_per_connection"].as_f64() > Some(0.0));
    assert_eq!(load("connect --warmup 0.2 --resume")["resumed_share"], 1.0);
    assert_eq!(load("idle --connections 100")["connections"], 100);
}
