//! The server when no descriptor is left.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use super::{PUSHLOOP, ask_tcp};
use crate::support::handshake;
use crate::support::http::{answer_to, dial, read_head};
use crate::support::process::{Process, Stream, connect, read_json};
use tungstenite::WebSocket;

/// The server with other limits of descriptors, and its address. What it says on standard error is among
/// its lines.
fn serve_with(limit: &str) -> (Process, String) {
    let shell = format!("ulimit {limit} && exec \"$0\" --listen 127.0.0.1:0 2>&1");
    let mut server = Process::start(Path::new("bash"), &["-c", &shell, PUSHLOOP]);
    let address = server.address("http://");
    (server, address)
}

/// Has as many WebSockets as are let in; the next one gets a 503.
fn fills(address: &str) -> Vec<WebSocket<Stream>> {
    let mut open = Vec::new();
    loop {
        let mut stream = dial(address);
        stream.write_all(handshake("/t", "").as_bytes()).expect("the server reads");
        let head = read_head(&mut stream).expect("it is answered");
        if head.starts_with(b"HTTP/1.1 503 ") {
            return open;
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        let role = tungstenite::protocol::Role::Client;
        open.push(WebSocket::from_raw_socket(Stream(stream), role, None));
    }
}

#[test]
fn the_limit_of_descriptors_is_raised_and_that_is_said() {
    let (mut server, address) = serve_with("-S -n 64");
    let open: Vec<_> = (0..100).map(|_| connect(&address, "/t")).collect();
    drop(open);
    server.kills();
    let lines: String = (0..9).map(|_| server.line()).collect();
    assert!(lines.contains("pushloop: up to ") && lines.contains(" (64 before)\n"), "{lines}");
}

#[test]
fn a_server_that_is_full_answers_health_checks_and_says_that_it_is() {
    let (mut server, address) = serve_with("-n 96");
    let mut stats = connect(&address, "/$stats");
    assert_eq!(read_json(&mut stats)["connections_refused"], 0);
    // 24 for health checks, and 16 of its own.
    let mut open = fills(&address);
    assert_eq!(open.len() + 1, 96 - 24 - 16);
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        silent.push(dial(&address));
        for request in ["GET /healthz", "HEAD /readyz", "OPTIONS /"] {
            // It says how it ends: no answer keeps a place of the reserve.
            let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = answer_to(dial(&address), &request);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    for request in ["POST /t", "GET /", "OPTIONS /t", "POST /healthz"] {
        let answer = ask_tcp(&address, request, "", "");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("full"), "{answer}");
    }
    while read_json(&mut stats)["connections_refused"] != 5 {}
    while !server.line().contains("connections were not let in, and ") {}
    // All others go on, and a connection that leaves makes room.
    drop(silent);
    drop(open.pop());
    let mut late = loop {
        let mut stream = dial(&address);
        stream.write_all(handshake("/t", "").as_bytes()).expect("the server reads");
        let head = read_head(&mut stream).expect("it is answered");
        if head.starts_with(b"HTTP/1.1 101 ") {
            let role = tungstenite::protocol::Role::Client;
            break WebSocket::from_raw_socket(Stream(stream), role, None);
        }
    };
    open[0].send("x".into()).expect("it is open");
    assert_eq!(late.read().expect("it is open").into_text().expect("text").as_str(), "x");
}
