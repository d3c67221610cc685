//! What begins a connection of a listener for proxies: a header of the PROXY protocol, of either version or none,
//! and a request, in chunks. The first byte of the input says how they are cut.
//!
//! The header is what its specification says that it is, and at each byte it is known whether more of it is to
//! come; the request behind it is answered as if it had come alone.

#[path = "../../../../src/wire/proxy.rs"]
mod proxy;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::oracle::drive::Drive;
use crate::oracle::handshake::judge;
use crate::oracle::response::parse;
use crate::pieces::pieces;
use http::HttpError;
use proxy::{ProxyHeader, proxy_header};

/// What `proxy` has of the rest of `wire`.
mod http {
    #[derive(Debug, PartialEq, Eq)]
    pub enum HttpError {
        ProxyHeaderInvalid,
    }
}

const BYTES_MAX: usize = 8192;
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

thread_local! {
    static DRIVE: RefCell<Drive> = RefCell::new({
        let mut drive = Drive::new(|config| {
            config.head_bytes_max = BYTES_MAX;
            config.proxies.unix = true;
        });
        drive.server.require_proxy_header(0);
        drive
    });
}

pub fn run(data: &[u8]) {
    let [seed, bytes @ ..] = data else { return };
    let expected = header(bytes);
    for end in 0..=bytes.len() {
        // What is whole, or wrong, stays so; what was neither before has more to come.
        let found = proxy_header(&bytes[..end], BYTES_MAX);
        let so_far = match expected {
            Begins::Is { len, .. } if end >= len => expected,
            Begins::Is { .. } | Begins::More => Begins::More,
            Begins::Wrong => header(&bytes[..end]),
        };
        assert_eq!(found, so_far.as_found(), "of {end} bytes");
    }
    DRIVE.with_borrow_mut(|drive| answers(drive, *seed, bytes, expected));
}

fn answers(drive: &mut Drive, seed: u8, bytes: &[u8], expected: Begins) {
    drive.connects();
    pieces(seed, bytes).into_iter().for_each(|piece| drive.hears(piece));
    drive.rests();
    match expected {
        Begins::More => assert!(drive.output.is_empty() && !drive.is_ended()),
        Begins::Wrong => {
            let answer = parse(&drive.output);
            assert_eq!((answer.status, drive.is_ended()), (400, true), "{answer:?}");
        }
        Begins::Is { len, .. } => {
            drive.expects_answer(&bytes[len..], &judge(&bytes[len..], Some(15)));
        }
    }
}

/// How a connection begins.
#[derive(Clone, Copy, Debug)]
enum Begins {
    More,
    Wrong,
    Is { len: usize, client: Option<SocketAddr> },
}

impl Begins {
    fn as_found(self) -> Result<Option<ProxyHeader>, HttpError> {
        match self {
            Self::More => Ok(None),
            Self::Wrong => Err(HttpError::ProxyHeaderInvalid),
            Self::Is { len, client } => Ok(Some(ProxyHeader { len, client })),
        }
    }
}

/// By the specification's sections 2.1 and 2.2, and nothing else.
fn header(bytes: &[u8]) -> Begins {
    if bytes.is_empty() {
        return Begins::More;
    }
    let is_binary = bytes[0] == V2[0];
    let start: &[u8] = if is_binary { V2 } else { b"PROXY " };
    for (at, byte) in bytes.iter().enumerate().take(start.len()) {
        if *byte != start[at] {
            return Begins::Wrong;
        }
    }
    if is_binary { binary(bytes) } else { text(bytes) }
}

fn text(bytes: &[u8]) -> Begins {
    // "A 107-byte buffer is always enough to store all the line", of which the CRLF is the end.
    for end in 2..=bytes.len().min(107) {
        if bytes[end - 2] == b'\r' && bytes[end - 1] == b'\n' {
            let line = String::from_utf8(bytes[..end - 2].to_vec()).ok();
            return match line.as_deref().and_then(said_of) {
                Some(client) => Begins::Is { len: end, client },
                None => Begins::Wrong,
            };
        }
    }
    if bytes.len() < 107 { Begins::More } else { Begins::Wrong }
}

/// Whom a line names, if it is one.
fn said_of(line: &str) -> Option<Option<SocketAddr>> {
    let words: Vec<&str> = line.split(' ').collect();
    if words[1] == "UNKNOWN" {
        return Some(None);
    }
    if words.len() != 6 {
        return None;
    }
    let (ports, mut addresses) = ([port(words[4])?, port(words[5])?], Vec::new());
    for word in &words[2..4] {
        addresses.push(match words[1] {
            "TCP4" => IpAddr::from(word.parse::<Ipv4Addr>().ok()?),
            "TCP6" => IpAddr::from(word.parse::<Ipv6Addr>().ok()?),
            _ => return None,
        });
    }
    Some(Some((addresses[0], ports[0]).into()))
}

/// "in the decimal form […] in the range [0..65535] inclusive […] without any leading zero".
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = word.len() > 1 && word.starts_with('0');
    if is_plain && !has_zeros { word.parse().ok() } else { None }
}

fn binary(bytes: &[u8]) -> Begins {
    match bytes.get(12) {
        None => return Begins::More,
        // Version 2, LOCAL or PROXY.
        Some(0x20 | 0x21) => {}
        Some(_) => return Begins::Wrong,
    }
    if bytes.len() < 16 {
        return Begins::More;
    }
    let len = 16 + (usize::from(bytes[14]) << 8) + usize::from(bytes[15]);
    if len > BYTES_MAX {
        return Begins::Wrong;
    }
    if bytes.len() < len {
        return Begins::More;
    }
    // A stream over AF_INET or AF_INET6 (2.2.2, 2.2.3), each with two addresses and two ports.
    let size = match (bytes[12], bytes[13]) {
        (0x21, 0x11) => 4,
        (0x21, 0x21) => 16,
        _ => return Begins::Is { len, client: None },
    };
    if len < 16 + 2 * size + 4 {
        return Begins::Wrong;
    }
    let from = &bytes[16..16 + size];
    let at = 16 + 2 * size;
    let port = u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1]);
    let address = match <[u8; 4]>::try_from(from) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(from).expect("it is the other size")),
    };
    Begins::Is { len, client: Some((address, port).into()) }
}
