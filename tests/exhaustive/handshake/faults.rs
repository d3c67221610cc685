//! One good request, and what can be wrong with it.

/// §1.2 of RFC 6455, with what browsers add.
pub const GOOD: [(&str, &str); 8] = [
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Origin", "http://example.com"),
    ("Sec-WebSocket-Protocol", "chat, superchat"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
];

/// A part of the good request, and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `method`, `target`, `version`, or the name of a field.
    place: String,
    values: Vec<String>,
}

pub fn field(name: &str, values: &[&str]) -> Fault {
    Fault { place: name.into(), values: values.iter().map(|&value| value.into()).collect() }
}

/// The good request with these faults.
pub fn request(faults: &[Fault]) -> String {
    let of = |place: &str| faults.iter().find(|fault| fault.place == place);
    let word = |place, good: &str| of(place).map_or(good.to_owned(), |it| it.values[0].clone());
    let mut head = [word("method", "GET"), word("target", "/chat"), word("version", "HTTP/1.1")]
        .join(" ")
        + "\r\n";
    let mut line = |name: &str, value: &str| head += &format!("{name}: {value}\r\n");
    for (name, value) in GOOD {
        match of(name) {
            Some(fault) => fault.values.iter().for_each(|value| line(name, value)),
            None => line(name, value),
        }
    }
    let known = |fault: &&Fault| {
        GOOD.iter().any(|(name, _)| *name == fault.place)
            || ["method", "target", "version"].contains(&&*fault.place)
    };
    let mut body = "";
    for fault in faults.iter().filter(|fault| !known(fault)) {
        fault.values.iter().for_each(|value| line(&fault.place, value));
        if fault.place == "Content-Length" {
            body = "hello";
        }
    }
    head + "\r\n" + body
}

/// All pairs of faults in different places.
pub fn pairs(faults: &[Fault]) -> Vec<Vec<Fault>> {
    let mut pairs = Vec::new();
    for (at, one) in faults.iter().enumerate() {
        let others = faults[at + 1..].iter().filter(|other| other.place != one.place);
        pairs.extend(others.map(|other| vec![one.clone(), other.clone()]));
    }
    pairs
}

pub fn all_faults() -> Vec<Fault> {
    let one = |place: &str, values: &[&str]| -> Vec<Fault> {
        values.iter().map(|&value| field(place, &[value])).collect()
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    [
        one("method", &["POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "get", "Get", "GETT"]),
        one("method", &["TRACE", "CONNECT", "", "G@T", "GET\t", " GET", "PRI", "\u{e9}"]),
        one("version", &["HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9", "http/1.1"]),
        one("version", &["HTTP/1.10", "HTTP/1", "HTTP/1.1 ", "1.1", "", "HTTP/a.1", "HTTP 1.1"]),
        one("target", &["", "chat", "*", "/#", "/a#b", "ws:/a", "ws://", "ws://u@h/", "ftp://a/"]),
        one(
            "target",
            &["/a b", "/\t", "/\u{e9}", "/\"", "/<", "http://h:x/", "http://[::1/", "//#"],
        ),
        one("Host", &["", "u@a", "u:p@a", "a:b", "a:65536", "::1", "[::1", "a b", "a/", "[g::1]"]),
        one(
            "Host",
            &["http://a", "a,b", "a%zz", "a%4", "[::1]x", "\u{e9}", "?", "a:80:80", "a:+1"],
        ),
        vec![field("Host", &[]), field("Host", &["example.com", "example.com"])],
        one("Upgrade", &["", "websocket/13", "websockets", "web socket", "websocket;q=1", "h2c"]),
        one("Upgrade", &["\"websocket\"", "websocket h2c", "xwebsocket", "webs\u{e9}cket", ","]),
        vec![field("Upgrade", &[]), field("Upgrade", &["h2c", "TLS/1.0"])],
        one("Connection", &["", "keep-alive", "close", "upgrader", "up grade", "upgrade;x"]),
        one("Connection", &["\"upgrade\"", "keep-alive upgrade", "Upgrad", "websocket", ",,"]),
        vec![field("Connection", &[]), field("Connection", &["keep-alive", "close"])],
        one("Sec-WebSocket-Key", &["", "A", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA="]),
        one("Sec-WebSocket-Key", &["AAAAAAAAAAAAAAAAAAAAAAAA", "dGhlIHNhbXBsZSBub2-jZQ=="]),
        one("Sec-WebSocket-Key", &["dGhlIHNhbXBsZSBub25jZQ=A", "dGhlIHNhbXBsZSBub25jZ==="]),
        one("Sec-WebSocket-Key", &["dGhlIHNhbXBsZSBub2 jZQ==", "dGhlIHNhbXBsZSBub25jZQ==,"]),
        one("Sec-WebSocket-Key", &["\"GhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub2\u{e9}ZQ=="]),
        vec![field("Sec-WebSocket-Key", &[]), field("Sec-WebSocket-Key", &[key, key])],
        one("Sec-WebSocket-Version", &["", "12", "14", "8", "0", "255", "013", "13, 8", "8, 13"]),
        one(
            "Sec-WebSocket-Version",
            &["13,", "+13", "13.0", "1 3", "\"13\"", "0x0d", "\u{661}\u{663}"],
        ),
        vec![field("Sec-WebSocket-Version", &[]), field("Sec-WebSocket-Version", &["13", "13"])],
        one(
            "Sec-WebSocket-Protocol",
            &["", ",", "a, a", "a b", "a;b", "a/b", "\"a\"", "a=b", "a@b"],
        ),
        one("Sec-WebSocket-Protocol", &["(a)", "b\u{fc}cher", "[a]", "a\\b", "a:b", "<a>", "a?"]),
        vec![field("Sec-WebSocket-Protocol", &["a", "a"])],
        one(
            "Sec-WebSocket-Extensions",
            &["", ",", ";", "a;", "a;;b", "a;b=", "a=b", "a b", "\"a\""],
        ),
        one(
            "Sec-WebSocket-Extensions",
            &["a;b=\"c", "a;b=\"\"", "a;b=\"c d\"", "a/b", "\u{e9}", "=a"],
        ),
        one(
            "Origin",
            &["null", "http://other.com", "http://example.com:81", "example.com", "", "x"],
        ),
        one(
            "Origin",
            &[
                "https://example.com:80",
                "http://example.com/",
                "http://example.com//",
                "ftp://example.com",
                "http://::1",
                "\u{e9}",
            ],
        ),
        vec![field("Origin", &["http://example.com", "http://example.com"])],
        one("Content-Length", &["5", "x", "", "-1", "+5", "5,5", "5 5", "99999", "0x5"]),
        vec![field("Content-Length", &["5", "5"])],
        one("Transfer-Encoding", &["chunked", "identity", ""]),
        one("Expect", &["100-continue", ""]),
        one("Bad Name", &["a"]),
        one("", &["a"]),
        one("X-\u{e9}", &["a"]),
        one("X-Control", &["a\u{0}b", "a\u{7f}b", "a\rb", "a\nb", "a\r\n b", "a\u{1}"]),
    ]
    .concat()
}
