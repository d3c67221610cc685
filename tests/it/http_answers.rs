//! What an application sends on, from a request say, does not break the response apart (RFC 9110
//! §5.5): random header fields, read back by a parser that knows nothing of how they were written.

use crate::support::dice::Dice;
use crate::support::{Answer, TestServer, config, get, handshake};
use pushloop::{Accept, AcceptError, Event, Hub, Response};

type Fields = Vec<(String, String)>;

/// What an attacker would have in a cookie, and what a careless application would copy.
const PIECES: [&str; 24] = [
    "a",
    "Z",
    "0",
    "-",
    "_",
    " ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{e9}",
    "\u{10a}",
    ":",
    ": ",
    ",",
    "\"",
    "\r\nX-Evil: 1\r\n",
    "\u{b}",
    "\u{1b}[2J",
];
const NAMES: [&str; 14] = [
    "X-Note",
    "Set-Cookie",
    "Location",
    "Upgrade",
    "upgrade",
    "Connection",
    "CONTENT-LENGTH",
    "transfer-Encoding",
    "Sec-WebSocket-Accept",
    "sec-websocket-extensions",
    "Sec-WebSocket",
    "",
    "X Y",
    "X:",
];

/// Fields of which about half can be sent.
fn random_fields(dice: &mut Dice) -> Fields {
    let text = |dice: &mut Dice, most: usize| -> String {
        (0..dice.below(most)).map(|_| PIECES[dice.below(PIECES.len())]).collect()
    };
    let mut fields = Fields::new();
    for _ in 0..dice.below(5) {
        let name = match dice.below(4) {
            0 => text(dice, 5),
            _ => NAMES[dice.below(NAMES.len())].to_owned(),
        };
        let value = match dice.below(3) {
            0 => text(dice, 8),
            1 => PIECES[dice.below(5)].repeat(dice.below(9)),
            _ => format!("a{}b", PIECES[dice.below(PIECES.len())]),
        };
        fields.push((name, value));
    }
    fields
}

/// RFC 9110 §5.1, §5.5, and the fields that are nobody's but the server's.
fn may_be_sent(name: &str, value: &str) -> bool {
    let token = name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c));
    let ours = ["connection", "content-length", "transfer-encoding"];
    let control = value.chars().any(|c| (c < ' ' && c != '\t') || c == '\u{7f}');
    let padded = value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']);
    !name.is_empty() && token && !ours.contains(&&*name.to_ascii_lowercase()) && !control && !padded
}

/// The fields of a head, as one reads them who knows nothing of how they were written.
#[track_caller]
fn fields(answer: &Answer) -> Fields {
    let lines = answer.head.strip_suffix("\r\n\r\n").expect("a head ends with an empty line");
    lines
        .split("\r\n")
        .skip(1)
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a field has a colon");
            assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// The number that a path ends with.
fn seed(path: &str) -> u64 {
    path.rsplit('/').next().and_then(|seed| seed.parse().ok()).expect("a path of this test")
}

/// A random answer, and whether the API took each of its fields.
fn random_response(seed: u64) -> (Response, Fields, String) {
    let mut dice = Dice::new(seed);
    let status = [200, 201, 204, 301, 304, 403, 426, 500, 599][dice.below(9)];
    let body = PIECES[dice.below(PIECES.len())].repeat(dice.below(20));
    let mut response = Response::new(status).body(body.clone());
    let mut kept = Fields::new();
    for (name, value) in random_fields(&mut dice) {
        let with_field = response.clone().header(&name, &value);
        assert_eq!(with_field.check().is_ok(), may_be_sent(&name, &value), "{name:?}: {value:?}");
        if with_field.check().is_ok() {
            response = with_field;
            kept.push((name, value));
        }
    }
    (response, kept, body)
}

/// So many that each piece stands before and behind each other one in some thirty values.
#[test]
fn responses_with_hostile_fields() {
    const RESPONSES: u64 = 10_000;
    let server = TestServer::start(config(|_| ()), |hub, event| {
        if let Event::Request { id, request } = event {
            let (response, ..) = random_response(seed(request.path()));
            hub.respond(id, response).expect("the request waits");
        }
    });
    let mut peer = server.connects();
    let mut sent = 0;
    for seed in 0..RESPONSES {
        let (response, mut expected, body) = random_response(seed);
        sent += expected.len();
        peer.sends_bytes(get(&format!("/{seed}")));
        let answer = peer.reads_head();
        assert_eq!(answer.status, response.status());
        let upgrade = expected.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        if ![204, 304].contains(&answer.status) {
            expected.push(field("Content-Length", body.len().to_string()));
            assert_eq!(peer.reads_bytes(body.len()), body.as_bytes());
        }
        let connection = if upgrade { "keep-alive, Upgrade" } else { "keep-alive" };
        expected.push(field("Connection", connection));
        let mut given = fields(&answer);
        given.retain(|(name, _)| name != "Date");
        assert_eq!(
            (given, answer.header("Date").map(str::len)),
            (expected, Some(29)),
            "seed {seed}"
        );
    }
    // The connection is where it was: no byte too many came.
    peer.sends_bytes(get("/0").replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(peer.reads_head().status, random_response(0).0.status());
    assert!(sent as u64 > RESPONSES / 2, "{sent} fields are hardly any");
}

/// What the application accepts a handshake with: a subprotocol, and fields.
fn random_accept(seed: u64) -> (Option<String>, Fields) {
    let mut dice = Dice::new(seed);
    let subprotocol = match dice.below(4) {
        0 => Some("chat".to_owned()),
        1 => Some(format!("chat{}", PIECES[dice.below(PIECES.len())])),
        _ => None,
    };
    (subprotocol, random_fields(&mut dice))
}

/// Accepts as is written in the path, or, if that is refused, with nothing.
fn accept(hub: &mut Hub, event: Event<'_>) {
    let Event::Request { id, request } = event else { return };
    let (subprotocol, fields) = random_accept(seed(request.path()));
    let headers: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    let how = Accept { subprotocol: subprotocol.as_deref(), headers: &headers };
    match hub.accept(id, how) {
        Ok(()) => {}
        Err(AcceptError::InvalidHeader | AcceptError::SubprotocolNotOffered) => {
            hub.accept(id, Accept::default()).expect("the request waits");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn handshakes_accepted_with_hostile_fields() {
    const HANDSHAKES: u64 = 3_000;
    let server = TestServer::start(config(|_| ()), accept);
    let mut sent = 0;
    for seed in 0..HANDSHAKES {
        let (subprotocol, given) = random_accept(seed);
        let mut peer = server.connects();
        let offer = "Sec-WebSocket-Protocol: x, chat\r\n";
        peer.sends_bytes(handshake(&format!("/{seed}"), offer));
        let mut expected = vec![
            field("Upgrade", "websocket"),
            field("Connection", "Upgrade"),
            field("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let ours = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == "upgrade" || name.starts_with("sec-websocket-")
        };
        let fine = given.iter().all(|(name, value)| may_be_sent(name, value) && !ours(name));
        if fine && subprotocol.as_deref().is_none_or(|chosen| chosen == "chat") {
            expected.extend(subprotocol.map(|chosen| field("Sec-WebSocket-Protocol", chosen)));
            expected.extend(given);
            sent += expected.len() - 3;
        }
        assert_eq!(fields(&peer.expects_upgrade()), expected, "seed {seed}");
    }
    assert!(sent as u64 > HANDSHAKES / 20, "{sent} fields are hardly any");
}
