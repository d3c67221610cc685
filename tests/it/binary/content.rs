//! What is published of a body, by what its fields say that it is.

use std::io::{Read, Write};

use super::serve;
use crate::support::http::{answer_to, dial};
use crate::support::process::connect;
use tungstenite::Message;

/// The answer to a publication of these bytes.
fn publish(address: &str, fields: &str, body: &[u8]) -> String {
    let length = body.len();
    let mut stream = dial(address);
    let head = format!(
        "POST /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    answer
}

#[test]
fn the_content_type_decides_whether_a_body_is_text() {
    const TEXT: &[u8] = b"\x08\x05";
    const BYTES: &[u8] = b"\x08\x96\x01";
    let (_server, address) = serve(&[]);
    let mut reads = connect(&address, "/t");
    for (fields, body, status) in [
        ("", TEXT, 200),
        ("", BYTES, 400),
        ("", b"", 200),
        ("Content-Type: application/x-www-form-urlencoded\r\n", TEXT, 200),
        ("Content-Type: application/json; charset=UTF-8\r\n", TEXT, 200),
        ("Content-Type: application/json\r\n", BYTES, 400),
        ("Content-Type: text/plain\r\n", BYTES, 400),
        ("Content-Type: text/plain; charset=latin1\r\n", TEXT, 415),
        ("Content-Type: text\r\n", TEXT, 400),
        ("Content-Type: text/a\r\nContent-Type: text/a\r\n", TEXT, 400),
        ("Content-Type: image/png\r\nContent-Encoding: gzip\r\n", BYTES, 415),
        ("Content-Encoding: identity\r\n", TEXT, 200),
    ] {
        let answer = publish(&address, fields, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
        if status == 200 {
            let text = str::from_utf8(body).expect("it is text");
            assert_eq!(reads.read().expect("it is open"), Message::text(text), "{fields}");
        } else if body == BYTES && status == 400 {
            assert!(answer.contains("UTF-8"), "{answer}");
        }
    }
    for kind in ["application/octet-stream", "image/png", "multipart/form-data; boundary=x"] {
        for body in [TEXT, BYTES, b""] {
            let answer = publish(&address, &format!("Content-Type: {kind}\r\n"), body);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{kind}: {answer}");
            let published = Message::binary(body.to_vec());
            assert_eq!(reads.read().expect("it is open"), published, "{kind}");
        }
    }
}

#[test]
fn what_the_head_tells_is_refused_before_the_upload() {
    let (_server, address) = serve(&["--one-topic"]);
    for (path, fields, status) in [
        ("/t", "Content-Encoding: gzip\r\n", 415),
        ("/t", "Content-Type: text/plain; charset=utf-16\r\n", 415),
        ("/t", "Content-Type: x\r\n", 400),
        ("/t,u", "", 400),
        ("/?topic=t", "", 400),
        ("/..", "", 400),
        ("/", "", 404),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\
             Expect: 100-continue\r\n{fields}\r\n"
        );
        let answer = answer_to(dial(&address), &head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {fields}: {answer}");
    }
}
