//! The server to run: a URL is a topic.
#![cfg(feature = "server")]

mod centrifuge;
mod commands;
mod config;
mod content;
mod docs;
mod file;
mod full;
mod hooks;
mod key_sets;
mod logs;
mod operator;
mod options;
mod presence;
mod publishing;
mod pusher;
mod reload;
mod resume;
mod supervised;
mod tls;
mod tokens;
mod topics;
mod urls;

use std::os::unix::net::UnixStream;

use crate::support::http::{answer_to, ask, dial};
use crate::support::process::{Process, bounded, connect, read_close, read_json, read_text};
use tungstenite::Message;

const PUSHLOOP: &str = env!("CARGO_BIN_EXE_pushloop");

fn serve(arguments: &[&str]) -> (Process, String) {
    Process::server(PUSHLOOP, arguments)
}

fn ask_tcp(address: &str, request_line: &str, fields: &str, body: &str) -> String {
    ask(dial(address), request_line, fields, body)
}

#[test]
fn what_is_posted_reaches_the_subscribers_of_the_path() {
    let (_server, address) = serve(&[]);
    let mut scores = connect(&address, "/scores");
    let mut both = connect(&address, "/news,scores");
    let answer = ask_tcp(&address, "POST /scores", "", "Goal!");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"delivered\":2}\n"),
        "{answer}"
    );
    assert_eq!(read_text(&mut scores), "Goal!");
    assert_eq!(read_text(&mut both), "Goal!");
    assert!(ask_tcp(&address, "POST /nobody", "", "x").ends_with("{\"delivered\":0}\n"));

    let answer = ask_tcp(&address, "POST /sc%6Fres", "", "encoded");
    assert!(answer.ends_with("{\"delivered\":2}\n"), "{answer}");
    assert_eq!(read_text(&mut scores), "encoded");
}

#[test]
fn what_a_client_sends_is_published_to_the_first_topic_of_its_path() {
    let (_server, address) = serve(&[]);
    let mut news = connect(&address, "/news");
    let mut scores = connect(&address, "/scores");
    let mut both = connect(&address, "/news,scores");
    both.send(Message::text("first")).expect("it is sent");
    assert_eq!(read_text(&mut news), "first");
    assert_eq!(read_text(&mut both), "first");
    scores.send(Message::text("second")).expect("it is sent");
    // Had `scores` got the first one, it would come before.
    assert_eq!(read_text(&mut scores), "second");
    assert_eq!(read_text(&mut both), "second");
}

#[test]
fn the_servers_own_figures_come_once_a_second_and_are_read_only() {
    let (_server, address) = serve(&[]);
    let mut stats = connect(&address, "/$stats");
    let [first, second] = [read_json(&mut stats), read_json(&mut stats)];
    assert_eq!(first["connections"], 1);
    assert!(first["uptime_ms"].as_u64() < second["uptime_ms"].as_u64());
    assert!(ask_tcp(&address, "POST /$stats", "", "x").starts_with("HTTP/1.1 403 "));
    stats.send(Message::text("x")).expect("it is sent");
    assert_eq!(read_close(&mut stats), 1008);
}

#[test]
fn each_wrong_request_gets_the_status_that_says_so() {
    let (_server, address) = serve(&[]);
    let long = "x".repeat(256);
    for (request_line, fields, status) in [
        ("GET /", "", 200),
        ("GET /scores", "", 426),
        ("POST /", "", 404),
        ("POST /?x=1", "", 404),
        ("POST /?topic=a&topic=b", "", 200),
        ("POST /?topic=$stats", "", 403),
        ("PUT /", "", 405),
        ("DELETE /scores", "", 405),
        ("POST /a,b", "", 200),
        ("POST /%ff", "", 400),
        ("POST /%0a", "", 400),
        (&format!("POST /{long}"), "", 414),
        ("POST /scores", "Origin: http://elsewhere\r\n", 403),
        ("POST /scores", "Origin: http://localhost\r\n", 200),
        ("POST /scores", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("POST /scores", "Sec-Fetch-Site: same-origin\r\n", 200),
        ("GET nowhere", "", 400),
        ("HEAD /", "", 200),
        ("HEAD /scores", "", 426),
        ("OPTIONS /", "", 200),
        ("OPTIONS *", "", 200),
        ("OPTIONS /scores", "Access-Control-Request-Method: POST\r\n", 200),
        ("OPTIONS /a,b", "", 200),
        ("OPTIONS /%ff", "", 400),
        ("TRACE /scores", "", 405),
        ("POST /scores", "Expect: 100-continue\r\n", 200),
        ("POST /scores", "Expect: 200-ok\r\n", 417),
        ("POST /scores", "Transfer-Encoding: gzip\r\n", 400),
    ] {
        let answer = ask_tcp(&address, request_line, fields, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request_line}: {answer}");
        let options = request_line.starts_with("OPTIONS ") && status == 200;
        let allows = status == 405 || options;
        assert_eq!(answer.contains("\r\nAllow: "), allows, "{request_line}: {answer}");
        let bodiless = request_line.starts_with("HEAD ") || options;
        assert_eq!(answer.ends_with("\r\n\r\n"), bodiless, "{request_line}: {answer}");
    }
    // HAProxy's `option httpchk` alone.
    let check = answer_to(dial(&address), "OPTIONS / HTTP/1.0\r\n\r\n");
    assert!(check.starts_with("HTTP/1.1 200 ") && check.contains("\r\nAllow: "), "{check}");
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let many: Vec<String> = (0..129).map(|at| format!("t{at}")).collect();
    for (path, status, why) in
        [("/", 404, "/scores"), (&format!("/{}", many.join(",")), 400, "topics_per_connection_max")]
    {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{upgrade}\r\n"
        );
        let answer = answer_to(dial(&address), &head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(why), "{answer}");
    }
}

#[test]
fn pages_of_an_allowed_origin_may_publish() {
    const ALLOW: &str = "\r\nAccess-Control-Allow-Origin: ";
    let asks = "Access-Control-Request-Method: POST\r\n";
    for (option, friend, allow) in [
        ("http://friend:5173", "http://friend:5173", "http://friend:5173"),
        ("https://*.friend", "https://a.friend", "https://a.friend"),
        ("file://", "file://", "file://"),
        ("null", "null", "null"),
        ("*", "http://anybody", "*"),
    ] {
        let (_server, address) = serve(&["--allow-origin", option]);
        for (line, more, status) in
            [("POST /scores", "", 200), ("OPTIONS /scores", asks, 204), ("POST /%ff", "", 400)]
        {
            let fields = format!("Origin: {friend}\r\n{more}");
            let allowed = ask_tcp(&address, line, &fields, "");
            assert!(allowed.starts_with(&format!("HTTP/1.1 {status} ")), "{allowed}");
            assert!(allowed.contains(&format!("{ALLOW}{allow}\r\n")), "{allowed}");
            if option != "*" {
                let refused =
                    ask_tcp(&address, line, &format!("Origin: http://friend\r\n{more}"), "");
                assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
                assert!(!refused.contains(ALLOW), "{refused}");
                for named in ["\"http://friend\"", "\"localhost\"", "--allow-origin"] {
                    assert!(refused.contains(named), "{refused}");
                }
            }
        }
    }
}

/// A name leads to this machine that is not its own: a page's, or a proxy's.
#[test]
fn names_that_a_proxy_passes_on_have_to_be_allowed() {
    let status = |address: &str, host: &str, request_line: &str| {
        let head = format!("{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = answer_to(dial(address), &head);
        let explained = !answer.starts_with("HTTP/1.1 421 ") || answer.contains("--allow-host");
        assert!(explained, "{answer}");
        answer[9..12].to_owned()
    };
    for (arguments, statuses) in [
        (&[][..], ["200", "421", "421"]),
        (&["--allow-host", "example.org"], ["200", "200", "421"]),
        (&["--allow-host", "*.com", "--allow-host", "example.org"], ["200", "200", "421"]),
        (&["--allow-host", "*"], ["200"; 3]),
        (&["--listen", "0.0.0.0:0", "--anyone-may-publish"], ["200"; 3]),
        (
            &["--listen", "0.0.0.0:0", "--anyone-may-publish", "--allow-host", "example.org"],
            ["200", "200", "421"],
        ),
    ] {
        let (_server, address) = serve(arguments);
        for (host, expected) in [&*address, "example.org", "evil.example"].iter().zip(statuses) {
            assert_eq!(status(&address, host, "GET /"), expected, "{host} {arguments:?}");
        }
        assert_eq!(status(&address, "localhost", "POST /scores"), "200");
        let publishes = if statuses[2] == "421" { "421" } else { "200" };
        assert_eq!(status(&address, "evil.example", "POST /scores"), publishes);
    }
}

#[test]
fn the_page_allows_itself_no_outside_resource() {
    let (_server, address) = serve(&[]);
    let page = ask_tcp(&address, "GET /", "", "");
    assert!(page.contains("Content-Security-Policy: default-src 'none'"), "{page}");
    for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_unix_socket_serves_the_same() {
    let path = std::env::temp_dir().join(format!("pushloop-{}.sock", std::process::id()));
    let listen = format!("unix:{}", path.display());
    let (mut server, address) = serve(&["--listen", &listen]);
    while !server.line().contains("unix:") {}
    let mut scores = connect(&address, "/scores");
    let stream = UnixStream::connect(&path).expect("it accepts");
    assert!(ask(stream, "POST /scores", "", "Goal!").ends_with("{\"delivered\":1}\n"));
    assert_eq!(read_text(&mut scores), "Goal!");
    drop(server);
    // Killed, not ended: the file stays, and the next server replaces it.
    let (mut server, _) = serve(&["--listen", &listen]);
    while !server.line().contains("unix:") {}
    UnixStream::connect(&path).expect("it accepts");
    std::fs::remove_file(&path).expect("the file is there");
}

#[test]
fn a_signal_closes_every_connection_with_1001_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let (mut server, address) = serve(&[]);
        let mut clients: Vec<_> = (0..10).map(|_| connect(&address, "/scores")).collect();
        server.signal(signal);
        for client in &mut clients {
            assert_eq!(read_close(client), 1001);
        }
        drop(clients);
        assert!(server.ended().success());
    }
}

#[test]
fn every_descriptor_of_it_is_closed_in_a_child() {
    let path = std::env::temp_dir().join(format!("pushloop-fds-{}.sock", std::process::id()));
    let (server, address) = serve(&["--listen", &format!("unix:{}", path.display())]);
    let _clients: Vec<_> = (0..10).map(|_| connect(&address, "/scores")).collect();
    let of = |process: &str, fd: &str| std::fs::read_link(format!("/proc/{process}/fd/{fd}")).ok();
    let process = server.child.id().to_string();
    let mut looked_at = 0;
    for fd in std::fs::read_dir(format!("/proc/{process}/fd")).expect("Linux has it") {
        let fd = fd.expect("it is listed").file_name().into_string().expect("a number");
        // Its standard streams, and what was not closed for it.
        if ["0", "1", "2"].contains(&&*fd) || of("self", &fd) == of(&process, &fd) {
            continue;
        }
        let info =
            std::fs::read_to_string(format!("/proc/{process}/fdinfo/{fd}")).expect("it is open");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("it has some");
        let flags = u32::from_str_radix(flags.trim(), 8).expect("octal");
        assert_ne!(flags & 0o2_000_000, 0, "{fd} is {:?}", of(&process, &fd));
        looked_at += 1;
    }
    // Poll, waker, reserve, two listeners, ten connections.
    assert!(looked_at >= 15, "{looked_at}");
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_wrong_flag_ends_with_2_and_a_port_in_use_with_1_and_one_line_each() {
    let run = |arguments: &[&str]| {
        let output = bounded(PUSHLOOP).args(arguments).output().expect("it runs");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!((error.lines().count(), output.stdout.len()), (1, 0), "{error}");
        (output.status.code(), error)
    };
    let (code, error) = run(&["--listne"]);
    assert!(code == Some(2) && error.contains("--listne"), "{code:?} {error}");
    let (code, error) = run(&["--listen", "0.0.0.0:0"]);
    assert!(code == Some(2) && error.contains("--anyone-may-publish"), "{code:?} {error}");
    let (_server, address) = serve(&[]);
    let (code, error) = run(&["--listen", &address]);
    assert!(code == Some(1) && error.contains(&address), "{code:?} {error}");
}
