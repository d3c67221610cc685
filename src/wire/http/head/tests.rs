//! The end of a head, and its grammar, against an oracle of its own.

use super::super::{HttpError, Request, parse_head};
use super::{Head, HeadScanner, text_len};

const HEAD: &str = "GET /scores?last=5 HTTP/1.1\r\nHost: example.org\r\nX-Note:  a b \r\n\r\n";

fn parse(head: &str) -> Result<Request, HttpError> {
    parse_head(head.as_bytes(), 64, 100)
}

/// The grammar of RFC 9112 for a head with this version and one Host, byte by byte; nothing of it
/// is in the code under test, and httparse is not asked.
fn is_well_formed(head: &[u8]) -> bool {
    // One character of Latin-1 for each byte keeps the rules readable.
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let token = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    let text = text.trim_start_matches("\r\n");
    let Some(lines) = text.strip_suffix("\r\n\r\n") else { return false };
    let mut lines = lines.split("\r\n");
    let request_line: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
    let [method, target, version] = request_line[..] else { return false };
    let target_ok = target.starts_with('/')
        && target.chars().all(|c| ('!'..='~').contains(&c) && !"\"#<>".contains(c));
    if !token(method) || !target_ok || !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return false;
    }
    let mut hosts = 0;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return false };
        let value_ok = value.chars().all(|c| c == '\t' || (c >= ' ' && c != '\u{7f}'));
        if !token(name) || !value_ok {
            return false;
        }
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
            let value = value.trim_matches([' ', '\t']);
            let (host, port) = value.split_once(':').unwrap_or((value, ""));
            let host_ok = !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c));
            if !host_ok || !port.chars().all(|c| c.is_ascii_digit()) {
                return false;
            }
        }
    }
    hosts == 1 || (hosts == 0 && version == "HTTP/1.0")
}

/// Every byte at every position of a head, in place of the byte there and before it. The value
/// and the target are long enough for httparse's wide loops.
#[test]
fn every_byte_at_every_position() {
    let long = "x".repeat(40);
    let head = format!(
        "\r\nGET /a{long} HTTP/1.1\r\nHost: a.example:8\r\nX{long}: {long}b c \r\nY:\r\n\r\n"
    );
    let head = head.into_bytes();
    assert!(is_well_formed(&head));
    let mut accepted = 0;
    for at in 0..=head.len() {
        for byte in 0..=255 {
            let mut inserted = head.clone();
            inserted.insert(at, byte);
            let mut replaced = head.clone();
            if let Some(old) = replaced.get_mut(at) {
                *old = byte;
            }
            for head in [inserted, replaced] {
                let result = parse_head(&head, 64, 100);
                let shown = String::from_utf8_lossy(&head);
                assert_eq!(result.is_ok(), is_well_formed(&head), "{byte:#04X} at {at}: {shown:?}");
                accepted += usize::from(result.is_ok());
                if let Err(error) = result {
                    assert!([400, 505].contains(&error.status()), "{error} {shown:?}");
                }
            }
        }
    }
    assert!(accepted > 10_000, "the oracle refuses nearly everything");
}

/// CVE-2023-43669: looking at the same bytes again for each byte that arrives. Here what has been
/// looked at is overwritten with bytes that would be an error.
#[test]
fn each_byte_is_looked_at_once_however_it_arrives() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\nmore", "y".repeat(8_000));
    let end = long.len() - 4;
    for step in [1, 2, 3, 7, 1_000, long.len()] {
        let mut buffer = Vec::new();
        let mut scanner = HeadScanner::default();
        let mut found = None;
        for chunk in long.as_bytes().chunks(step) {
            buffer.extend_from_slice(chunk);
            found = scanner.scan(&buffer, 10_000).unwrap().map(Head::len);
            if found.is_some() {
                break;
            }
            buffer.fill(b'\n');
        }
        assert_eq!(found, Some(end), "{step} bytes at a time");
    }
}

#[test]
fn the_end_of_a_head_is_found_at_every_split() {
    let heads = ["\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "x\r\n\r\n", HEAD];
    for head in heads {
        let stream = format!("{head}\r\nGET");
        for cut in 0..=stream.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.scan(&stream.as_bytes()[..cut], 100).unwrap().map(Head::len);
            if cut < head.len() {
                assert_eq!(first, None);
                let found = scanner.scan(stream.as_bytes(), 100).unwrap();
                assert_eq!(found, Some(Head(head.as_bytes())));
            } else {
                assert_eq!(first, Some(head.len()));
            }
        }
    }
}

#[test]
fn a_bare_cr_or_lf_is_refused_as_soon_as_it_is_seen() {
    for (good, bad) in [
        ("", "\n"),
        ("\r", "\r"),
        ("\r\n", "\n"),
        ("\r", "G"),
        ("GET /", "\n"),
        ("GET /\r", " "),
        ("GET /\r", "\r"),
        ("GET / HTTP/1.1\r\n", "\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", "x"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", "\r"),
        ("GET / HTTP/1.1\r\nHost: a", "\n"),
    ] {
        let mut scanner = HeadScanner::default();
        assert_eq!(scanner.scan(good.as_bytes(), 100), Ok(None), "{good:?}");
        let whole = format!("{good}{bad}");
        assert_eq!(scanner.scan(whole.as_bytes(), 100), Err(HttpError::Malformed), "{whole:?}");
        let more = format!("{whole}\r\n\r\n");
        assert_eq!(parse(&more).unwrap_err(), HttpError::Malformed);
    }
}

#[test]
fn a_head_is_as_long_as_the_limit_and_no_longer() {
    let head = HEAD.as_bytes();
    let scan = |bytes: &[u8], max| {
        HeadScanner::default().scan(bytes, max).map(|found| found.map(Head::len))
    };
    assert_eq!(scan(head, head.len()), Ok(Some(head.len())));
    assert_eq!(scan(head, head.len() - 1), Err(HttpError::HeadTooLarge));
    assert_eq!(scan(&head[..head.len() - 2], head.len() - 1), Ok(None));
    // Empty lines before the request line count, and more than the limit is not looked at.
    assert_eq!(scan(&b"\r\n".repeat(50), 100), Err(HttpError::HeadTooLarge));
    assert_eq!(scan(&b"\r\n".repeat(49), 100), Ok(None));
    assert_eq!(scan(b"GET\n", 3), Err(HttpError::HeadTooLarge));
    assert_eq!(scan(&[b'x'; 10_000], 8_192), Err(HttpError::HeadTooLarge));
    // Exactly the head, not one with the beginning of the body.
    assert_eq!(parse(&format!("{HEAD}x")).unwrap_err(), HttpError::Malformed);
    assert_eq!(parse(&HEAD[..HEAD.len() - 1]).unwrap_err(), HttpError::Malformed);
}

#[test]
fn text_ends_at_its_first_cr_or_lf_wherever_that_is() {
    for len in 0..50 {
        let text = vec![b'x'; len];
        assert_eq!(text_len(&text), len);
        for (at, end) in (0..len).flat_map(|at| [(at, b'\r'), (at, b'\n')]) {
            let mut text = text.clone();
            text[at..].fill(end);
            assert_eq!(text_len(&text), at);
        }
    }
}

/// Libraries take the brackets off a URL's host; nothing but an address is read so.
#[test]
fn a_host_may_be_an_address_without_its_brackets() {
    let one = |host: &str| parse(&HEAD.replacen("example.org", host, 1));
    for host in [
        "::1",
        "::1:9001",
        "::",
        ":::80",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8:65535",
        "::ffff:1.2.3.4:80",
    ] {
        assert_eq!(one(host).unwrap().host(), host);
    }
    for host in [
        "::1:",
        "::1:65536",
        "::1:+1",
        "::1:http",
        "::1:1:2x",
        "1:2:3",
        "1:2:3:4:5:6:7:8:9:10",
        ":1::2:80:90:x",
        "fe80::1%eth0",
        "fe80::1%eth0:80",
        "::1.evil.example",
        "::1, a",
        "user@::1",
    ] {
        assert_eq!(one(host).err(), Some(HttpError::HostInvalid), "{host}");
    }
    let absolute = HEAD.replacen("/scores", "http://::1:9001/scores", 1);
    assert_eq!(parse(&absolute).unwrap_err(), HttpError::TargetInvalid);
}
