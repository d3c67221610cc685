//! `raw` and `subject` under `load`: each kind of traffic, and nothing is wrong.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &str) -> Self {
        let mut child = Command::new(program)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect("in these words").into();
        Self { child, address }
    }

    /// `load KIND` for a moment: `MODE [OPTION]...`.
    fn load(&self, kind: &str) -> Value {
        let (mode, more) = kind.split_once(' ').unwrap_or((kind, ""));
        let path = if mode == "fan" { "fan" } else { "echo" };
        let output = Command::new(env!("CARGO_BIN_EXE_load"))
            .args([mode, &format!("ws://{}/{path}", self.address)])
            .args(["--pid", &self.child.id().to_string()])
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
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and the test has failed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    let raw = Server::start(env!("CARGO_BIN_EXE_raw"));
    for kind in KINDS {
        let result = raw.load(&format!("{kind} --raw"));
        assert!(result["messages"].as_f64() > Some(0.0), "{kind}: {result}");
        assert!(result["server_cpu_us_per_message"].as_f64() > Some(0.0), "{kind}: {result}");
    }
    assert!(raw.load("connect --raw")["connections"].as_f64() > Some(1.0));
    raw.load("idle --connections 100 --raw");
}

#[test]
fn subject_echoes_and_fans_out() {
    let subject = Server::start(env!("CARGO_BIN_EXE_subject"));
    for kind in KINDS.into_iter().chain(["echo --payload 1048576"]) {
        let result = subject.load(kind);
        assert!(result["messages"].as_f64() > Some(0.0), "{kind}: {result}");
    }
    assert!(subject.load("connect")["server_cpu_us_per_connection"].as_f64() > Some(0.0));
    assert_eq!(subject.load("idle --connections 100")["connections"], 100);
    for kind in ["echo --payload 512", "fan --payload 512 --connections 50", "echo --payload 5000"]
    {
        let result = subject.load(&format!("{kind} --deflate"));
        assert_eq!(result["compressed_share"], 1.0, "{kind}: {result}");
        assert!(result["messages"].as_f64() > Some(0.0), "{kind}: {result}");
    }
}
