//! One server with several loops.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tungstenite::Message;

use super::{
    PUSHLOOP, ask_tcp,
    hooks::backend::{Backend, Got, reply, yes},
    serve,
    tokens::{File, handshake_status},
};
use crate::support::process::{connect, read_close, read_json, read_text, scratch};

fn post(address: &str, path: &str, fields: &str, body: &str) -> (u16, Vec<Value>) {
    let answer = ask_tcp(address, &format!("POST {path}"), fields, body);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let objects = body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (head[9..12].parse().expect("a status"), objects)
}

const TOPICS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

#[test]
fn what_is_published_at_any_loop_reaches_the_subscribers_of_all() {
    let (mut server, address) = serve(&["--loops", "2", "--history", "10"]);
    let mut clients: Vec<_> = (0..4).map(|_| connect(&address, "/a,b,c,d,e,f,g,h")).collect();
    for topic in TOPICS {
        // Each request is a connection, and the loops have them in turns.
        for nth in 1..=4 {
            let (status, told) = post(&address, &format!("/{topic}"), "", &format!("{topic}{nth}"));
            assert_eq!((status, &told[0]["delivered"]), (200, &4.into()));
            let id = told[0]["id"].as_str().expect("it has a history");
            assert!(id.ends_with(&format!("-{nth}")), "{id}");
            for client in &mut clients {
                assert_eq!(read_text(client), format!("{topic}{nth}"));
            }
        }
    }
    // Messages are published to the first topic of the URL.
    for client in 0..4 {
        clients[client].send(Message::text(format!("of {client}"))).expect("it is sent");
        clients.iter_mut().for_each(|it| assert_eq!(read_text(it), format!("of {client}")));
    }
    server.signal("TERM");
    clients.iter_mut().for_each(|it| assert_eq!(read_close(it), 1001));
    while server.is_alive() {
        std::thread::yield_now();
    }
}

#[test]
fn several_topics_lines_keys_and_conditions_are_those_of_one_loop() {
    let (_server, address) = serve(&["--loops", "3", "--history", "10"]);
    let mut client = connect(&address, "/a,b,c,d,e,f,g,h");
    let (status, told) = post(&address, "/a,b,c,d,e,f,g,h", "", "x");
    let published = told[0]["published"].as_array().expect("a list");
    let names: Vec<_> = published.iter().map(|it| it["topic"].as_str().expect("a name")).collect();
    assert_eq!((status, names), (200, TOPICS.to_vec()));
    TOPICS.iter().for_each(|_| assert_eq!(read_text(&mut client), "x"));

    let lines: Vec<_> =
        TOPICS.iter().map(|it| format!("{{\"topic\":\"{it}\",\"data\":\"{it}\"}}")).collect();
    let of_lines = "Content-Type: application/x-ndjson\r\n";
    let (status, told) = post(&address, "/", of_lines, &lines.join("\n"));
    assert_eq!((status, told.len()), (200, 8));
    let mut got: Vec<_> = TOPICS.iter().map(|_| read_text(&mut client)).collect();
    got.sort();
    assert_eq!(got, TOPICS);
    // Up to the first that is refused.
    let broken = [&lines[0], &lines[1], "{}", &lines[2]].map(String::from).join("\n");
    let (status, told) = post(&address, "/", of_lines, &broken);
    assert_eq!((status, told.len(), &told[2]["line"]), (400, 3, &3.into()));
    let mut got = [read_text(&mut client), read_text(&mut client)];
    got.sort();
    assert_eq!(got, ["a", "b"]);

    for topic in TOPICS {
        let path = format!("/{topic}");
        let key = "Idempotency-Key: 7f3a\r\n";
        let first = post(&address, &path, key, "once");
        assert_eq!(post(&address, &path, key, "once"), first);
        let place = first.1[0]["id"].as_str().expect("an id").to_owned();
        let only = format!("If-Match: \"{place}\"\r\n");
        assert_eq!(post(&address, &path, &only, "next").0, 200);
        assert_eq!(post(&address, &path, &only, "late").0, 412);
        let asynchronous = post(&address, &path, "Prefer: respond-async\r\n", "async");
        assert_eq!(asynchronous, (202, vec![serde_json::json!({"taken": 1})]));
        let got = [(); 3].map(|()| read_text(&mut client));
        assert_eq!(got, ["once", "next", "async"]);
    }
}

#[test]
fn what_is_kept_is_had_at_every_loop() {
    let (_server, address) = serve(&["--loops", "2", "--history", "10"]);
    for topic in TOPICS {
        let mut places = Vec::new();
        for nth in 0..5 {
            let (_, told) = post(&address, &format!("/{topic}"), "", &format!("{topic}{nth}"));
            places.push(told[0]["id"].as_str().expect("an id").to_owned());
        }
        for _of_each_loop in 0..2 {
            let mut last = connect(&address, &format!("/{topic}?last=2"));
            let got = [(); 2].map(|()| read_text(&mut last));
            assert_eq!(got, [format!("{topic}3"), format!("{topic}4")]);
            let after = format!("/{topic}?after={}&envelope=json", places[1]);
            let mut after = connect(&address, &after);
            let begin = read_json(&mut after);
            assert_eq!(begin["recovered"], true, "{begin}");
            for (nth, place) in (2..5).zip(&places[2..]) {
                let event = read_json(&mut after);
                assert_eq!(
                    (&event["id"], &event["data"]),
                    (&(**place).into(), &format!("{topic}{nth}").into())
                );
            }
            // Of another epoch.
            let digit = if places[1].starts_with('0') { "1" } else { "0" };
            let other = format!("/{topic}?after={digit}{}&envelope=json", &places[1][1..]);
            assert_eq!(read_json(&mut connect(&address, &other))["recovered"], false);
        }
    }
}

#[test]
fn figures_and_metrics_are_those_of_all_loops() {
    let (_server, address) = serve(&["--loops", "2"]);
    let mut clients: Vec<_> = (0..4).map(|_| connect(&address, "/a,b,$stats")).collect();
    for client in &mut clients {
        // The first ones are of before the others came.
        while read_json(client)["connections"] != 4 {}
    }
    let metrics = ask_tcp(&address, "GET /metrics", "", "");
    assert!(metrics.contains("\npushloop_upgrades_total 4\n"), "{metrics}");
    for path in ["/healthz", "/readyz"] {
        assert!(ask_tcp(&address, &format!("GET {path}"), "", "").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn each_loop_asks_the_backend_and_has_its_answers() {
    let backend = Backend::start(|got: &Got| match got.json()["topics"][0].as_str() {
        Some("no") => reply(403, "", ""),
        _ => yes(),
    });
    let url = backend.url();
    let hooks = ["--hook-url", &*url, "--hook-event", "subscribe", "--hook-event", "publish"];
    let (_server, address) = serve(&[&["--loops", "2"], &hooks[..]].concat());
    let mut clients: Vec<_> = (0..4).map(|_| connect(&address, "/a")).collect();
    for nth in 0..4 {
        assert_eq!(post(&address, "/a", "", &format!("{nth}")).0, 200);
        assert_eq!(post(&address, "/no", "", "x").0, 403);
        assert_eq!(handshake_status(&address, "/no", ""), 403);
        clients.iter_mut().for_each(|it| assert_eq!(read_text(it), format!("{nth}")));
        // Its messages one after the other.
        for of in 0..3 {
            clients[nth].send(Message::text(format!("{nth}.{of}"))).expect("it is sent");
        }
        for of in 0..3 {
            clients.iter_mut().for_each(|it| assert_eq!(read_text(it), format!("{nth}.{of}")));
        }
    }
}

#[test]
fn every_loop_takes_what_is_read_again() {
    let file = scratch("loops.toml");
    let file = file.to_str().expect("UTF-8");
    fs::write(file, "allow-host = 'a.org'\n").expect("it can be written");
    let shell = "exec \"$0\" \"$@\" 2>&1";
    let flags = [
        "-c",
        shell,
        PUSHLOOP,
        "--loops",
        "2",
        "--config",
        file,
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "info",
    ];
    let mut server = crate::support::process::Process::start("bash".as_ref(), &flags);
    let address = server.address("open http://");
    fs::write(file, "allow-host = 'b.org'\n").expect("it can be written");
    server.signal("HUP");
    while !server.line().contains("reloaded: allow-host") {}
    for _of_each_loop in 0..4 {
        let mut stream = crate::support::http::dial(&address);
        let head = "GET / HTTP/1.1\r\nHost: b.org\r\nConnection: close\r\n\r\n";
        assert!(crate::support::http::answer_to(&mut stream, head).starts_with("HTTP/1.1 200 "));
    }
    fs::remove_file(file).expect("it is there");
}

#[test]
fn what_one_loop_alone_has_is_refused() {
    let error = |arguments: &[&str]| {
        let output = Command::new(PUSHLOOP).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    for (arguments, named) in [
        (&["--history", "1", "--history-file", "x"][..], "--history-file"),
        (&["--client-connections-max", "1"], "--client-connections-max"),
        (&["--client-connections-per-second", "1"], "--client-connections-per-second"),
        (&["--publications-per-second", "1"], "--publications-per-second"),
        (&["--publication-bytes-per-second", "1"], "--publication-bytes-per-second"),
    ] {
        let why = error(&[&["--loops", "2"], arguments].concat());
        assert!(why.contains(named) && why.contains("not with --loops"), "{why}");
    }
    // What loops have with a broker, and why not without.
    let secret = File::new("loops-secret", &[b'x'; 32]);
    let app = format!("1:key:{}", secret.path());
    for (arguments, named) in [
        (&["--presence"][..], "--presence"),
        (&["--centrifuge"], "--centrifuge"),
        (&["--pusher-app", &app], "--pusher-app"),
    ] {
        let why = error(&[&["--loops", "2"], arguments].concat());
        let told = "several loops have it with --redis: not with --loops alone";
        assert!(why.contains(named) && why.contains(told), "{why}");
        let with_redis = ["check", "--loops", "2", "--redis", "redis://127.0.0.1:1"];
        let output = Command::new(PUSHLOOP).args(with_redis).args(arguments).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for right in ["1", "64", "auto"] {
        let output = Command::new(PUSHLOOP).args(["check", "--loops", right]).output();
        assert!(output.expect("it runs").status.success(), "{right}");
    }
    for wrong in ["0", "65", "x", "-1"] {
        let why = error(&["--loops", wrong]);
        assert!(why.contains("--loops"), "{why}");
    }
}
