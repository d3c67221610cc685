//! Who may subscribe and publish at the server to run: every way in, for everybody who may come.

mod doors;
mod pacing;
mod revoked;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    http::header::{AUTHORIZATION, HeaderValue},
};

use super::{PUSHLOOP, ask_tcp, serve};
use crate::support::handshake;
use crate::support::http::{answer_to, dial, read_head};
use crate::support::process::{Process, Stream, bounded, connect, read_json, read_text, scratch};

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub const PUBLISH_KEY: &str = "a-publish-key-of-a-backend";

/// A file that is there as long as this.
pub struct File(std::path::PathBuf);

impl File {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let path = scratch(name);
        fs::write(&path, bytes).expect("it is written");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // What is gone already needs no removing.
        let _ = fs::remove_file(&self.0);
    }
}

/// A server with a secret and a publish key, and its address.
pub fn guarded(arguments: &[&str]) -> (Process, String, [File; 2]) {
    let files = [File::new("secret", SECRET), File::new("key", PUBLISH_KEY.as_bytes())];
    let keys = ["--jwt-secret-file", files[0].path(), "--publish-key-file", files[1].path()];
    let (server, address) = serve(&[&keys, arguments].concat());
    (server, address, files)
}

// Tokens end by the clock on the wall.
#[allow(clippy::disallowed_methods)]
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    now.as_secs() as i64 + seconds
}

/// A token with these claims, made without the code that reads it.
pub fn token(claims: &Value) -> String {
    let parts = [r#"{"alg":"HS256"}"#.to_owned(), claims.to_string()];
    let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let code =
        ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(code))
}

/// One that is good for an hour.
pub fn granting(subscribe: &[&str], publish: &[&str]) -> String {
    token(&json!({ "exp": in_seconds(3600), "subscribe": subscribe, "publish": publish }))
}

/// What `token check` says of a token.
fn check(secret: &str, token: &str) -> String {
    let arguments = ["token", "check", "--jwt-secret-file", secret, token];
    let output = bounded(PUSHLOOP).args(arguments).output().expect("it runs");
    assert_eq!((output.status.code(), output.stderr), (Some(1), Vec::new()));
    String::from_utf8(output.stdout).expect("text")
}

pub fn bearer(credential: &str) -> String {
    if credential.is_empty() {
        return String::new();
    }
    format!("Authorization: Bearer {credential}\r\n")
}

pub fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// Opens a WebSocket with a credential.
fn connect_as(address: &str, path: &str, credential: &str) -> WebSocket<Stream> {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("it is a URL");
    if !credential.is_empty() {
        let value = HeaderValue::try_from(format!("Bearer {credential}")).expect("it is a value");
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    tungstenite::client(request, Stream(dial(address))).expect("the server upgrades").0
}

/// The status of the answer to an opening handshake.
pub fn handshake_status(address: &str, path: &str, fields: &str) -> u16 {
    let mut stream = dial(address);
    stream.write_all(handshake(path, fields).as_bytes()).expect("the server reads");
    let head = read_head(&mut stream).expect("the server answers");
    match status(&String::from_utf8_lossy(&head)) {
        101 => 200,
        refused => refused,
    }
}

/// Asks for an event stream: the connection, and the status of the answer, which goes on if it is good.
pub fn open_stream(address: &str, path: &str, fields: &str) -> (TcpStream, u16) {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{fields}\r\n"
    );
    let mut stream = dial(address);
    stream.write_all(head.as_bytes()).expect("the server reads");
    let head = read_head(&mut stream).expect("the server answers");
    let status = status(&String::from_utf8_lossy(&head));
    (stream, status)
}

pub fn stream_status(address: &str, path: &str, fields: &str) -> u16 {
    open_stream(address, path, fields).1
}

#[test]
fn a_token_comes_in_one_of_four_ways() {
    let more = ["--token-cookie", "session", "--subprotocol", "chat"];
    let (_server, address, _files) = guarded(&more);
    let token = granting(&["t"], &["t"]);
    let header = bearer(&token);
    let cookie = format!("Cookie: a=b; session={token}\r\n");
    let offers = |offers: &str| format!("Sec-WebSocket-Protocol: {offers}\r\n");
    let query = format!("/t?x=1&token={token}");
    for (path, fields, expected) in [
        ("/t", &*header, 200),
        (&*query, "", 200),
        ("/t", &*cookie, 200),
        ("/t", &*header.replace("Bearer ", "bearer   "), 200),
        ("/t", &*header.replace("Bearer", "Basic"), 401),
        ("/t", "Cookie: session=\r\n", 401),
        ("/t?token=", "", 401),
        ("/t?Token=x", "", 401),
        (&*query, &*header, 400),
        (&*query, &*cookie, 400),
        ("/t", &*(header.clone() + &cookie), 400),
        ("/t", &*header.repeat(2), 400),
        ("/t", &*(cookie.clone() + "Cookie: session=other\r\n"), 400),
        (&*format!("{query}&token=x"), "", 400),
    ] {
        assert_eq!(handshake_status(&address, path, fields), expected, "{path} {fields}");
        assert_eq!(stream_status(&address, path, fields), expected, "{path} {fields}");
        let answer = ask_tcp(&address, &format!("POST {path}"), fields, "x");
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(!answer.contains(&token[..20]), "{answer}");
    }
    // A page can set nothing else; the token is not what it gets back.
    let opens = |fields: &str| {
        let mut stream = dial(&address);
        stream.write_all(handshake("/t", fields).as_bytes()).expect("the server reads");
        String::from_utf8(read_head(&mut stream).expect("it answers")).expect("heads are text")
    };
    for (offered, chosen) in [
        (format!("bearer, {token}"), "bearer"),
        (format!("chat, bearer, {token}"), "chat"),
        (format!("bearer, {token}, chat"), "chat"),
    ] {
        let head = opens(&offers(&offered));
        assert_eq!(status(&head), 101, "{head}");
        assert!(head.contains(&format!("\r\nSec-WebSocket-Protocol: {chosen}\r\n")), "{head}");
    }
    for (fields, expected) in [
        (offers("bearer"), 401),
        (offers(&format!("chat, {token}")), 401),
        (offers(&format!("bearer, {token}x")), 401),
        (offers(&format!("bearer, {token}")) + &header, 400),
    ] {
        let head = opens(&fields);
        assert!(status(&head) == expected && !head.contains(&token[..20]), "{fields} {head}");
    }
    // The key of a backend is for its own field.
    assert_eq!(doors::publishes(&address, "t", PUBLISH_KEY), 200);
    for (path, fields) in [
        (format!("/t?token={PUBLISH_KEY}"), String::new()),
        ("/t".to_owned(), format!("Cookie: session={PUBLISH_KEY}\r\n")),
    ] {
        assert_eq!(status(&ask_tcp(&address, &format!("POST {path}"), &fields, "x")), 401);
    }
}

/// A browser sends a cookie along with what any page asks for.
#[test]
fn a_cookie_counts_for_pages_that_may_have_sent_it() {
    let friend = "https://friend.example";
    let (_server, address, _files) = guarded(&["--token-cookie", "s", "--allow-origin", friend]);
    let cookie = format!("Cookie: s={}\r\n", granting(&["t"], &["t"]));
    for (fields, expected) in [
        ("", 200),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: http://localhost\r\n", 200),
        ("Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n", 200),
        // The other scheme.
        ("Origin: https://localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: https://friend.example\r\nSec-Fetch-Site: cross-site\r\n", 200),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
    ] {
        let fields = format!("{cookie}{fields}");
        assert_eq!(handshake_status(&address, "/t", &fields), expected, "{fields}");
        assert_eq!(stream_status(&address, "/t", &fields), expected, "{fields}");
        assert_eq!(status(&ask_tcp(&address, "POST /t", &fields, "x")), expected, "{fields}");
    }
    let fields = format!("{cookie}Origin: {friend}\r\n");
    let answer = ask_tcp(&address, "POST /t", &fields, "x");
    assert!(answer.contains("\r\nAccess-Control-Allow-Credentials: true\r\n"), "{answer}");
}

/// As its user sees it, in the body and for programs, also in a page of another origin.
#[test]
fn a_refusal_says_what_is_wrong() {
    let (_server, address, files) = guarded(&["--allow-origin", "https://a.example"]);
    let with = |name: &str, value: Value| {
        let mut claims = json!({ "exp": in_seconds(3600), "publish": ["a"] });
        claims[name] = value;
        token(&claims)
    };
    let good = with("sub", json!("ada"));
    for (credential, expected, why) in [
        (String::new(), 401, "a token is needed to publish"),
        (with("exp", json!(in_seconds(-1))), 401, "expired (exp)"),
        (with("exp", json!(null)), 401, "exp"),
        (with("nbf", json!(in_seconds(3600))), 401, "not valid yet (nbf)"),
        (with("aud", json!("other")), 401, "aud"),
        (with("publish", json!("a")), 401, "claim publish"),
        (good.replace('.', ":"), 401, "neither a token nor the publish key"),
        (good.clone() + "A", 401, "signature"),
        (format!("{good}{}", "x".repeat(8192)), 401, "token_bytes_max = 8192"),
        (with("publish", json!(["b"])), 403, "claim publish does not cover this topic"),
    ] {
        if expected == 401 && credential.contains('.') {
            let explained = check(files[0].path(), &credential);
            assert!(
                explained.contains("verdict: refused: ") && explained.contains(why),
                "{explained}"
            );
        }
        let fields = format!("{}Origin: https://a.example\r\n", bearer(&credential));
        for answer in [
            ask_tcp(&address, "POST /a", &fields, "x"),
            answer_to(dial(&address), &handshake("/a", &fields)),
        ] {
            // Nothing is granted to read.
            let is_read = answer.contains("subscribe");
            assert!(status(&answer) == expected && (is_read || answer.contains(why)), "{answer}");
            assert!(
                answer.contains("\r\nAccess-Control-Allow-Origin: https://a.example\r\n"),
                "{answer}"
            );
            let error = match (expected, credential.is_empty()) {
                (_, true) => "Bearer\r\n",
                (401, _) => "Bearer error=\"invalid_token\", error_description=\"",
                _ => "Bearer error=\"insufficient_scope\", error_description=\"",
            };
            assert!(answer.contains(&format!("\r\nWWW-Authenticate: {error}")), "{answer}");
            assert!(credential.is_empty() || !answer.contains(&credential[..20]), "{answer}");
        }
    }
    let mut stats = connect_as(&address, "/$stats", &granting(&["$stats"], &[]));
    let counted = read_json(&mut stats);
    for (name, count) in [
        ("malformed", 4),
        ("unsigned", 2),
        ("unacceptable", 8),
        ("expired", 2),
        ("missing", 2),
        ("insufficient", 2),
    ] {
        assert_eq!(counted[format!("tokens_{name}")], count, "{name}: {counted}");
    }
}

/// To verify a signature costs more than to answer. So each costs a connection, of which a client has so many.
#[test]
fn a_token_that_is_not_good_is_the_last_of_its_connection() {
    let (_server, address, _files) = guarded(&[]);
    let forged = granting(&["t"], &["t"]) + "A";
    for (credential, expected, then) in [
        ("", 401, "keep-alive"),
        (&*granting(&[], &[]), 403, "keep-alive"),
        (&*granting(&[], &["t"]), 200, "keep-alive"),
        (&*forged, 401, "close"),
    ] {
        let mut stream = dial(&address);
        let head = "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n";
        let head = format!("{head}{}\r\n", bearer(credential));
        stream.write_all(head.as_bytes()).expect("the server reads");
        let head = read_head(&mut stream).expect("the server answers");
        let head = String::from_utf8(head).expect("heads are text");
        assert_eq!(status(&head), expected, "{head}");
        assert!(head.contains(&format!("\r\nConnection: {then}\r\n")), "{head}");
    }
}

#[test]
fn what_came_with_a_token_ends_with_it() {
    let (_server, address, _files) = guarded(&[]);
    // Between one and two seconds.
    let short = token(&json!({ "exp": in_seconds(2), "subscribe": ["t"] }));
    let mut socket = connect_as(&address, "/t", &short);
    let mut lasting = connect_as(&address, "/t", &granting(&["t"], &[]));
    let mut stream = dial(&address);
    let head = format!(
        "GET /t HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{}\r\n",
        bearer(&short)
    );
    stream.write_all(head.as_bytes()).expect("the server reads");
    let close = loop {
        if let Message::Close(close) = socket.read().expect("a Close frame comes") {
            break close.expect("it has a code");
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4401, "the token expired"));
    assert!(in_seconds(0) >= in_seconds(2) - 2);
    let lines: Vec<_> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    assert!(lines[0].contains("200 OK"), "{lines:?}");
    // It came back too late.
    assert_eq!(handshake_status(&address, "/t", &bearer(&short)), 401);
    ask_tcp(&address, "POST /t", &bearer(PUBLISH_KEY), "still here");
    assert_eq!(read_text(&mut lasting), "still here");
}

#[test]
fn a_member_is_whom_the_token_names() {
    let more = ["--presence", "--anyone-may-subscribe"];
    let (_server, address, _files) = guarded(&more);
    let with = |more: Value| {
        let mut claims = json!({ "exp": in_seconds(3600), "subscribe": ["$presence/room"] });
        claims.as_object_mut().expect("it is one").extend(more.as_object().expect("one").clone());
        token(&claims)
    };
    let ada = with(json!({ "sub": "ada", "info": { "desk": 12 } }));
    let _sockets = [
        connect_as(&address, "/room", &ada),
        connect_as(&address, "/room?member=ada", &ada),
        connect_as(&address, "/room", &with(json!({ "sub": "ben" }))),
        connect_as(&address, "/room", &with(json!({}))),
        connect(&address, "/room"),
    ];
    let answer = ask_tcp(&address, "GET /room?presence", &bearer(&ada), "");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let list: Value = serde_json::from_str(body).expect("JSON");
    let members = json!([{ "id": "ada", "info": { "desk": 12 } }, { "id": "ben", "info": null }]);
    assert_eq!((&list["count"], &list["members"]), (&json!(4), &members));
    for (path, credential, expected) in [
        ("/room?member=eve", &*ada, 403),
        ("/room?member=ada&info=1", &*ada, 400),
        ("/room?member=ada", &*with(json!({})), 403),
        ("/room?member=ada", "", 401),
        ("/room?member=ada", PUBLISH_KEY, 401),
    ] {
        assert_eq!(handshake_status(&address, path, &bearer(credential)), expected, "{path}");
    }
}

#[test]
fn a_server_with_keys_that_cannot_be_used_does_not_start() {
    // What a check takes would start, and not end.
    let refused = |arguments: &[&str]| {
        let check = bounded(PUSHLOOP).arg("check").args(arguments).output();
        let check = check.expect("it runs");
        let error = String::from_utf8(check.stderr).expect("text");
        assert_eq!((check.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(check.stdout.is_empty(), "{arguments:?}");
        error
    };
    let short = File::new("short", &SECRET[1..]);
    let long = File::new("long", &vec![b'x'; (1 << 20) + 1]);
    for (option, path, why) in [
        ("--jwt-secret-file", short.path(), "secret_bytes_min = 32"),
        ("--jwt-secret-file", "/nowhere/secret", "/nowhere/secret: "),
        ("--jwt-public-key-file", short.path(), "no PEM"),
        ("--jwks", short.path(), "no JSON"),
        ("--jwks", long.path(), "key_file_bytes_max = 1048576"),
    ] {
        let error = refused(&[option, path]);
        assert!(error.contains(why) && error.contains(path), "{error}");
        let server = bounded(PUSHLOOP).args([option, path]).output().expect("it runs");
        let error = String::from_utf8(server.stderr).expect("text");
        assert!(server.status.code() == Some(1) && error.contains(why), "{error}");
    }
    let secret = File::new("good", SECRET);
    let keys = ["--jwt-secret-file", secret.path()];
    for (more, why) in [
        (&["--anyone-may-publish"][..], "--anyone-may-publish"),
        (&["--token-cookie", "s", "--allow-origin", "*"], "--token-cookie"),
        (&["--token-cookie", "s", "--allow-origin", "null"], "--token-cookie"),
        (&["--token-cookie", "s p"], "s p"),
    ] {
        let error = refused(&[&keys, more].concat());
        assert!(error.contains(why), "{error}");
    }
    for (arguments, why) in [
        (&["--publish-key-file", secret.path()][..], "--anyone-may-subscribe"),
        (&["--anyone-may-subscribe"], "--anyone-may-subscribe"),
        (&["--jwt-issuer", "a"], "--jwt-issuer"),
        (&["--jwt-audience", "a"], "--jwt-audience"),
        (&["--token-cookie", "a"], "--token-cookie"),
    ] {
        let error = refused(arguments);
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
    // With keys, publishing is not open, and it may be reached.
    let (_server, address) = serve(&[&keys[..], &["--listen", "0.0.0.0:0"]].concat());
    assert_eq!(status(&ask_tcp(&address, "POST /t", "", "x")), 401);
}
