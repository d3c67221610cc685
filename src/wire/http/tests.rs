//! What a request says, and which requests are refused.

use super::*;

/// A well-formed head, and what tests change about it.
const HEAD: &str = "GET /scores?last=5 HTTP/1.1\r\nHost: example.org\r\nX-Note:  a b \r\n\r\n";

fn parse(head: &str) -> Result<Request, HttpError> {
    parse_head(head.as_bytes(), 64, 100)
}

/// A request of HTTP/1.1 with a Host and these field lines.
fn with(lines: &str) -> Result<Request, HttpError> {
    parse(&format!("POST /t HTTP/1.1\r\nHost: example.org\r\n{lines}\r\n"))
}

#[test]
fn the_parts_of_a_request() {
    let head = "\r\n\r\nPOST /a%20b?x=1?y HTTP/1.1\r\nHost: example.org:80\r\nAccept: one\r\n\
                accept:\t two\t \r\nEmpty:\r\nBytes: \u{e9}\r\nContent-Length: 007\r\n\r\n";
    let mut request = parse(head).unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.target(), "/a%20b?x=1?y");
    assert_eq!(request.path(), "/a%20b");
    assert_eq!(request.query(), Some("x=1?y"));
    assert_eq!(request.host(), "example.org:80");
    assert_eq!(request.version_minor(), 1);
    assert_eq!(request.content_length(), Some(7));
    assert_eq!(request.header("ACCEPT"), Some(&b"one"[..]));
    assert_eq!(request.header_all("accept").collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!(request.header("empty"), Some(&b""[..]));
    assert_eq!(request.header("bytes"), Some("\u{e9}".as_bytes()));
    assert_eq!(request.header("absent"), None);
    let names: Vec<&str> = request.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "Accept", "accept", "Empty", "Bytes", "Content-Length"]);

    assert_eq!((request.body(), request.peer()), (&b""[..], None));
    request = request.with_body(b"payload".to_vec());
    request.set_addresses(Some(([127, 0, 0, 1], 9).into()), Some([127, 0, 0, 2].into()));
    assert_eq!(request.client(), Some([127, 0, 0, 2].into()));
    assert_eq!(request.body(), b"payload");
    assert_eq!(request.peer().map(|peer| peer.port()), Some(9));
    assert_eq!(format!("{request:?}"), "Request(POST /a%20b)");
}

/// It may be logged.
#[test]
fn what_is_shown_of_a_request_is_short() {
    let shown = |method: &str, path: &str| {
        format!("{:?}", parse(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap())
    };
    let long = |len: usize| format!("/{}", "x".repeat(len - 1));
    assert_eq!(shown("GET", &long(256)), format!("Request(GET {})", long(256)));
    assert_eq!(shown("GET", &long(257)), format!("Request(GET {}…)", long(256)));
    assert_eq!(shown(&"G".repeat(7_000), "/"), format!("Request({}… /)", "G".repeat(256)));
    assert_eq!(shown("GET", "/a?password=b"), "Request(GET /a)");
}

#[test]
fn targets_in_each_form() {
    // Method, target, then path, query and host; None where it is refused.
    type Parts = Option<(&'static str, Option<&'static str>, &'static str)>;
    let rows: [(&str, &str, Parts); 26] = [
        ("GET", "/", Some(("/", None, "h.example"))),
        ("GET", "/a/b", Some(("/a/b", None, "h.example"))),
        ("GET", "/a?", Some(("/a", Some(""), "h.example"))),
        ("GET", "/?a=/b?c", Some(("/", Some("a=/b?c"), "h.example"))),
        ("GET", "//other/a", Some(("//other/a", None, "h.example"))),
        ("GET", "/http://other/", Some(("/http://other/", None, "h.example"))),
        ("GET", "/[{|}]^`\\", Some(("/[{|}]^`\\", None, "h.example"))),
        ("GET", "http://other/a", Some(("/a", None, "other"))),
        ("GET", "HTTPS://other:8443/a?b", Some(("/a", Some("b"), "other:8443"))),
        ("GET", "ws://[::1]:80", Some(("/", None, "[::1]:80"))),
        ("GET", "wss://other?b", Some(("/", Some("b"), "other"))),
        ("OPTIONS", "*", Some(("*", None, "h.example"))),
        ("OPTIONS", "/a", Some(("/a", None, "h.example"))),
        ("GET", "*", None),
        ("OPTIONS", "*a", None),
        ("GET", "a", None),
        ("GET", "?a", None),
        ("GET", "example.org:80", None),
        ("GET", "/a#b", None),
        ("GET", "http://other/a#b", None),
        ("GET", "/<script>", None),
        ("GET", "/\"", None),
        ("GET", "ftp://other/a", None),
        ("GET", "http:///a", None),
        ("GET", "http://user@other/a", None),
        ("GET", "http://other:99999/a", None),
    ];
    for (method, target, expected) in rows {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: h.example\r\n\r\n");
        match (parse(&head), expected) {
            (Ok(request), Some((path, query, host))) => {
                assert_eq!(request.target(), target);
                assert_eq!((request.path(), request.query(), request.host()), (path, query, host));
            }
            (result, None) => {
                assert_eq!(result.err(), Some(HttpError::TargetInvalid), "{method} {target}");
            }
            (Err(error), Some(_)) => panic!("{method} {target}: {error}"),
        }
    }
    for target in ["/\u{e9}", "/\u{7f}", "http://\u{e9}/"] {
        assert!(parse(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).is_err(), "{target}");
    }
}

#[test]
fn methods() {
    for method in
        ["GET", "HEAD", "POST", "PUT", "DELETE", "get", "M-SEARCH", "PRI", "X!#$%&'*+.^_`|~"]
    {
        assert_eq!(parse(&HEAD.replacen("GET", method, 1)).unwrap().method(), method);
    }
    for method in ["CONNECT", "TRACE"] {
        let error = parse(&HEAD.replacen("GET", method, 1)).unwrap_err();
        assert_eq!(error.status(), 405);
        assert_eq!(error.extra_headers()[0].0, "Allow");
    }
    let connect = "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n";
    assert_eq!(parse(connect).unwrap_err(), HttpError::MethodUnsupported);
    for method in ["", "GET\t", "G ET", "G(T", "\"GET\"", "G\u{e9}T"] {
        assert_eq!(parse(&HEAD.replacen("GET", method, 1)).unwrap_err().status(), 400, "{method}");
    }
}

#[test]
fn versions() {
    let status =
        |version: &str| parse(&HEAD.replacen("HTTP/1.1", version, 1)).err().map(HttpError::status);
    assert_eq!((status("HTTP/1.1"), status("HTTP/1.0")), (None, None));
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"] {
        assert_eq!(status(version), Some(505), "{version}");
    }
    for version in [
        "",
        " HTTP/1.1",
        "HTTP/1.1 ",
        "http/1.1",
        "HTTP/1.10",
        "HTTP/11.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1,1",
        "HTTP 1.1",
        "HTTPS/1.1",
        "HTTP/2",
        "HTTP/2.0 ",
        "HTTP/2.00",
        "XTTP/2.0",
        "HTTP/a.1",
        "HTTP/1.x",
        "ICY/1.0",
        "HTTP/\u{b2}.0",
        "\tHTTP/1.1",
    ] {
        assert_eq!(status(version), Some(400), "{version}");
    }
    // No request line at all, and the preface of HTTP/2, which is no request that we know.
    for head in ["GET\r\n\r\n", "GET /\r\n\r\n", "\r\n\r\n", "", "PRI * HTTP/2.0\r\n\r\n"] {
        assert_eq!(parse(head).unwrap_err().status(), 400, "{head:?}");
    }
    let connect = "CONNECT a:1 HTTP/2.0\r\n\r\n";
    assert_eq!(parse(connect).unwrap_err(), HttpError::MethodUnsupported);
}

#[test]
fn one_valid_host() {
    let one = |host: &str| parse(&HEAD.replacen("example.org", host, 1));
    for host in [
        "a",
        "example.org.",
        "EXAMPLE.org:1",
        "127.0.0.1:65535",
        "[::1]",
        "[::ffff:1.2.3.4]:9",
        "a:",
        "under_score",
        "xn--bcher-kva.example",
        "%41.example",
        "a:0080",
        "!$&'()*+,;=~",
    ] {
        assert_eq!(one(host).unwrap().host(), host);
    }
    for host in [
        "",
        " ",
        ":80",
        "a:b",
        "a:-1",
        "a:+1",
        "a:65536",
        "a:99999999999999999999",
        "a:1:2",
        "user@a",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "http://a",
        "[]",
        "[::1",
        "::1]",
        "[::1]a",
        "[::1]:x",
        "[1.2.3.4]",
        "[v1.a]",
        "[fe80::1%25eth0]",
        "%4",
        "%zz",
        "a\\b",
        "b\u{fc}cher.example",
        "\"a\"",
        "a, b",
        "<a>",
        "a\tb",
    ] {
        assert_eq!(one(host).err(), Some(HttpError::HostInvalid), "{host}");
    }
    let without = HEAD.replacen("Host: example.org\r\n", "", 1);
    assert_eq!(parse(&without).unwrap_err(), HttpError::HostInvalid);
    let twice = HEAD.replacen("X-Note", "hOST: example.org\r\nX-Note", 1);
    assert_eq!(parse(&twice).unwrap_err(), HttpError::HostInvalid);
    // RFC 9112 §3.2.2: the authority wins, and the Host must be there all the same.
    let absolute = HEAD.replacen("/scores", "http://other/scores", 1);
    assert_eq!(parse(&absolute).unwrap().host(), "other");
    let absolute = without.replacen("/scores", "http://other/scores", 1);
    assert_eq!(parse(&absolute).unwrap_err(), HttpError::HostInvalid);
}

#[test]
fn http_1_0_needs_no_host_and_is_never_kept_alive() {
    let head = "GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n";
    let request = parse(head).unwrap();
    assert_eq!((request.host(), request.version_minor()), ("", 0));
    assert!(!request.keep_alive());
    assert_eq!(parse(&head.replacen(" / ", " http://a/b ", 1)).unwrap().host(), "a");
    let head = head.replacen("Expect", "Host: a\r\nExpect", 1);
    assert_eq!(parse(&head).unwrap().host(), "a");
    let head = head.replacen("Expect", "Host: a\r\nExpect", 1);
    assert_eq!(parse(&head).unwrap_err(), HttpError::HostInvalid);
    assert_eq!(parse("GET / HTTP/1.0\r\nHost:\r\n\r\n").unwrap_err(), HttpError::HostInvalid);
}

#[test]
fn connection_is_a_list() {
    for (lines, kept) in [
        ("", true),
        ("Connection: keep-alive\r\n", true),
        ("Connection: close\r\n", false),
        ("connection: Keep-Alive,\t CLOSE ,\r\n", false),
        ("Connection: x\r\nConnection: ,,close\r\n", false),
        ("Connection: closed, not-close, clo se\r\n", true),
        ("Connection: \"close\"\r\n", true),
        ("Connection: \u{e9}\r\n", true),
    ] {
        assert_eq!(with(lines).unwrap().keep_alive(), kept, "{lines}");
    }
    let request = with("A: b, ,\t,c\r\nA:\r\nA: d\r\n").unwrap();
    assert_eq!(request.list("a").collect::<Vec<_>>(), [b"b", b"c", b"d"]);
    assert!(!request.list_contains("a", ""));
}

/// What could make two readers see two different bodies.
#[test]
fn a_content_length_is_one_number_or_refused() {
    for (value, length) in [("0", 0), ("5", 5), ("  99\t", 99), ("100", 100), ("000100", 100)] {
        let request = with(&format!("Content-Length:{value}\r\n")).unwrap();
        assert_eq!(request.content_length(), Some(length));
    }
    for value in [
        "101",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551621",
        "340282366920938463463374607431768211456",
        "99999999999999999999999999999999999999999999999",
    ] {
        let error = with(&format!("Content-Length: {value}\r\n")).unwrap_err();
        assert_eq!(error, HttpError::BodyTooLarge, "{value}");
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n");
        let boundless = parse_head(head.as_bytes(), 64, usize::MAX);
        assert_eq!(boundless.is_ok(), value == "101", "{value}");
    }
    for value in [
        "",
        "+5",
        "-5",
        "-0",
        "5, 5",
        "5,5",
        "5,",
        ",5",
        "5 5",
        "0x5",
        "5.0",
        "5e0",
        "five",
        "\"5\"",
        "5;a",
        "\u{665}",
        "5\u{a0}",
        "1_000",
        "0b1",
        "5/1",
        "5\u{0}",
        "(5)",
        "5\tchunked",
    ] {
        let error = with(&format!("Content-Length: {value}\r\n")).unwrap_err();
        assert_eq!(error.status(), 400, "{value:?}");
    }
}

/// Fields that another reader might take for framing.
#[test]
fn a_framing_field_that_could_be_read_in_two_ways_is_refused() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH:\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length: 5\r\n 6\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content\u{0}-Length: 5\r\n",
        "Content-Length: 5\r\n: 6\r\n",
        "Content-Length: 5\nContent-Length: 6\r\n",
        "Content-Length: 5\rX: y\r\n",
        "Content-Length: 5\r\n\tX: y\r\n",
        "X: y\n\nPOST / HTTP/1.1\r\n",
        "Content-Length\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "\u{0}Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\u{0}\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "\rTransfer-Encoding: chunked\r\n",
        "Transfer\u{e9}Encoding: chunked\r\n",
    ] {
        assert_eq!(with(lines).unwrap_err().status(), 400, "{lines:?}");
    }
}

#[test]
fn one_transfer_encoding_is_understood() {
    for value in ["chunked", "Chunked", "CHUNKED", "\tchunked\t"] {
        let request = with(&format!("Transfer-Encoding: {value}\r\n")).unwrap();
        assert_eq!(request.content_length(), None, "{value:?}");
    }
    for value in [
        "identity",
        "",
        "gzip",
        "gzip, chunked",
        "chunked, identity",
        "chunked, chunked",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
        ",chunked",
        "chunked,",
        "x",
        "cow",
        "chun ked",
        "trailers",
        "chunked\r\nTransfer-Encoding: identity",
        "chunked\r\nTransfer-Encoding: chunked",
        "\u{ff}chunked",
        "5",
    ] {
        let error = with(&format!("Transfer-Encoding: {value}\r\n")).unwrap_err();
        assert_eq!(error, HttpError::TransferEncodingUnsupported, "{value:?}");
    }
}

/// Whatever the coding is.
#[test]
fn a_transfer_encoding_goes_without_a_length_and_with_1_1() {
    for coding in ["chunked", "identity", "", "gzip, chunked", "chunked\r\nTransfer-Encoding: x"] {
        let coding = format!("Transfer-Encoding: {coding}\r\n");
        let head = format!("POST / HTTP/1.0\r\nHost: a\r\n{coding}\r\n");
        assert_eq!(parse(&head).unwrap_err(), HttpError::TransferEncodingAmbiguous, "{coding:?}");
        for length in ["5", "0", "x", "", "5\r\ncontent-length: 6"] {
            let length = format!("Content-Length: {length}\r\n");
            for lines in [[&coding[..], &length].concat(), [&length[..], &coding].concat()] {
                let error = with(&lines).unwrap_err();
                assert_eq!(error, HttpError::TransferEncodingAmbiguous, "{lines:?}");
            }
        }
    }
}

#[test]
fn one_expectation_is_met_and_others_are_refused() {
    for value in ["", "x=y", "100-continue,", "100-continue\r\nExpect: 100-continue"] {
        let error = with(&format!("Expect: {value}\r\n")).unwrap_err();
        assert_eq!(error, HttpError::ExpectUnsupported);
    }
    for (fields, expects) in [
        ("Expect: 100-Continue\r\nContent-Length: 1\r\n", true),
        ("Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("Expect: 100-continue\r\n", false),
        ("Content-Length: 1\r\n", false),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", true),
    ] {
        assert_eq!(with(fields).unwrap().expects_continue(), expects, "{fields}");
    }
    // A body that is too large is the better answer: repeating it without Expect would not help.
    let error = with("Expect: 100-continue\r\nContent-Length: 101\r\n").unwrap_err();
    assert_eq!(error, HttpError::BodyTooLarge);
}

#[test]
fn field_lines_up_to_the_limit() {
    let head = |count: usize| {
        let lines: String = (1..count).map(|_| "a:\r\n").collect();
        format!("GET / HTTP/1.1\r\nHost:a\r\n{lines}\r\n").into_bytes()
    };
    for max in [1, 2, 64, 100] {
        assert_eq!(parse_head(&head(max), max, 0).unwrap().headers().count(), max);
        assert_eq!(parse_head(&head(max + 1), max, 0).unwrap_err(), HttpError::TooManyHeaders);
    }
    assert_eq!(parse_head(&head(2_000), usize::MAX, 0).unwrap().headers().count(), 2_000);
    assert_eq!(parse_head(&head(2_000), 64, 0).unwrap_err().status(), 431);
}

#[test]
fn each_error_has_its_status_and_names_its_limit() {
    use HttpError::*;
    for (error, status, names) in [
        (Malformed, 400, "well-formed"),
        (TargetInvalid, 400, "target"),
        (HostInvalid, 400, "Host"),
        (ContentLengthInvalid, 400, "Content-Length"),
        (TransferEncodingAmbiguous, 400, "Content-Length"),
        (ChunkMalformed, 400, "chunked"),
        (ChunkFramingTooLarge, 400, "chunk_framing_bytes_max"),
        (ProxyHeaderInvalid, 400, "PROXY"),
        (ProxyUnknown, 403, "proxies"),
        (MethodUnsupported, 405, "TRACE"),
        (BodyTooLarge, 413, "body_bytes_max"),
        (ExpectUnsupported, 417, "Expect"),
        (HeadTooLarge, 431, "head_bytes_max"),
        (TooManyHeaders, 431, "headers_max"),
        (TransferEncodingUnsupported, 501, "Transfer-Encoding"),
        (VersionUnsupported, 505, "HTTP/1.1"),
    ] {
        assert_eq!(error.status(), status);
        assert!(error.to_string().contains(names), "{error}");
        assert_eq!(error.extra_headers().is_empty(), status != 405, "{error}");
    }
}

#[test]
fn a_request_knows_how_long_its_head_was() {
    for more in ["", "A: b\r\n", "Content-Length: 5\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        assert_eq!(parse_head(head.as_bytes(), 64, 5).unwrap().head_len(), head.len());
    }
}
