//! The PROXY protocol, versions 1 and 2: what a proxy sends before the first byte of its client
//! (HAProxy's `proxy-protocol.txt`).

use std::net::{IpAddr, SocketAddr};

use super::http::HttpError;

/// §2.2: how version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.1: bytes of a line of version 1, with its CRLF.
const LINE_BYTES_MAX: usize = 107;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length in bytes.
    pub len: usize,
    /// The client that the connection comes from; `None` if the proxy does not say, or speaks for itself.
    pub client: Option<SocketAddr>,
}

/// Reads the header at the start of a connection; `None` if more of it is to come.
///
/// # Errors
///
/// [`HttpError::ProxyHeaderInvalid`] at the first byte that makes it none, or if it is longer than
/// `bytes_max`.
pub fn proxy_header(bytes: &[u8], bytes_max: usize) -> Result<Option<ProxyHeader>, HttpError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, its)| byte == its);
    let header = if begins(SIGNATURE) {
        binary(bytes, bytes_max)
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        Err(())
    };
    header.map_err(|()| HttpError::ProxyHeaderInvalid)
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`.
fn line(bytes: &[u8]) -> Result<Option<ProxyHeader>, ()> {
    let start = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = start.windows(2).position(|pair| pair == b"\r\n") else {
        return if start.len() < LINE_BYTES_MAX { Ok(None) } else { Err(()) };
    };
    let text = str::from_utf8(&start[..end]).map_err(|_| ())?;
    let words: Vec<&str> = text.split(' ').collect();
    let client = match words[..] {
        // §2.1: what follows UNKNOWN is to be ignored.
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, port, to_port] => {
            let address = |text: &str| {
                let address = text.parse().ok();
                address.filter(|it: &IpAddr| it.is_ipv4() == (family == "TCP4")).ok_or(())
            };
            address(to)?;
            number(to_port)?;
            Some((address(from)?, number(port)?).into())
        }
        _ => return Err(()),
    };
    Ok(Some(ProxyHeader { len: end + 2, client }))
}

/// A port without a sign and without zeros in front of it.
fn number(text: &str) -> Result<u16, ()> {
    let port: u16 = text.parse().map_err(|_| ())?;
    if port.to_string() == text { Ok(port) } else { Err(()) }
}

/// Version 2, whose addresses are followed by whatever else a proxy has to say (§2.2.1 on).
fn binary(bytes: &[u8], bytes_max: usize) -> Result<Option<ProxyHeader>, ()> {
    // What is there is looked at, so that nonsense is not waited for.
    let command = match bytes.get(12) {
        Some(0x20) => None,
        Some(0x21) => bytes.get(13).copied(),
        Some(_) => return Err(()),
        None => return Ok(None),
    };
    let &[_, _, high, low, ref rest @ ..] = &bytes[12..] else { return Ok(None) };
    let size = usize::from(u16::from_be_bytes([high, low]));
    let len = SIGNATURE.len() + 4 + size;
    if len > bytes_max {
        return Err(());
    }
    let Some(data) = rest.get(..size) else { return Ok(None) };
    let client = match command {
        // TCP over IPv4: two addresses, two ports. Over IPv6: the same.
        Some(0x11) => Some(source::<4>(data)?),
        Some(0x21) => Some(source::<16>(data)?),
        // The proxy speaks for itself, or of something else than TCP over IP.
        _ => None,
    };
    Ok(Some(ProxyHeader { len, client }))
}

/// The first of two addresses of so many bytes, with the first of two ports (§2.2).
fn source<const BYTES: usize>(data: &[u8]) -> Result<SocketAddr, ()>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (from, rest) = data.split_first_chunk::<BYTES>().ok_or(())?;
    let ports = rest.get(BYTES..).and_then(|rest| rest.first_chunk::<4>()).ok_or(())?;
    Ok((IpAddr::from(*from), u16::from_be_bytes([ports[0], ports[1]])).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &[u8] = b"\x0C\x00\x02\x01\xC6\x33\x64\x01\xDC\x04\x01\xBB";

    fn v2(command: u8, family: u8, data: &[u8]) -> Vec<u8> {
        let len = (data.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, data].concat()
    }

    /// What it says of a whole header, which has to ask for more at each shorter start.
    fn client(header: &[u8]) -> Option<SocketAddr> {
        for end in 0..header.len() {
            assert_eq!(proxy_header(&header[..end], 8192), Ok(None), "{end} bytes");
        }
        let more = [header, b"GET / HTTP/1.1\r\n"].concat();
        let found = proxy_header(&more, 8192).unwrap().unwrap();
        assert_eq!(found.len, header.len());
        found.client
    }

    #[test]
    fn headers_of_both_versions() {
        let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let both = [&v6[..], &v6, &[0xDC, 4, 1, 0xBB]].concat();
        let more = [V4, &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 12.0.2.1 198.51.100.1 56324 443\r\n".to_vec(), Some("12.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n".to_vec(), Some("[2001:db8::1]:0")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n".to_vec(), None),
            (v2(0x21, 0x11, &[&V4[..1], &V4[1..]].concat()), Some("12.0.2.1:56324")),
            (v2(0x21, 0x11, &more), Some("12.0.2.1:56324")),
            (v2(0x21, 0x21, &both), Some("[2001:db8::1]:56324")),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, V4), None),
            (v2(0x21, 0x00, b""), None),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x12, V4), None),
        ] {
            let found = client(&header).map(|client| client.to_string());
            assert_eq!(found.as_deref(), expected, "{}", header.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_header() {
        for header in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"PROXY\t",
            b"proxy ",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 01\r\n",
            b"PROXY TCP4 a.example 1.2.3.4 1 1\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY \xFF\r\n",
            b"PROXY \r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11",
            b"\r\n\r\n\0\r\nQUIT\n\x22",
            b"\r\n\r\n\0\r\nQUIX",
            &v2(0x21, 0x11, &V4[..11]),
            &v2(0x21, 0x21, &[0; 35]),
        ] {
            let found = proxy_header(header, 8192);
            assert_eq!(found, Err(HttpError::ProxyHeaderInvalid), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_header_may_be_as_long_as_the_limit() {
        let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16)).into_bytes();
        assert!(proxy_header(&line(107), 8192).unwrap().is_some());
        assert!(proxy_header(&line(108), 8192).is_err());
        assert!(proxy_header(&line(108)[..107], 8192).is_err());
        let long = v2(0x21, 0x31, &[0; 184]);
        assert_eq!(proxy_header(&long, 200).unwrap().unwrap().len, 200);
        assert!(proxy_header(&long[..16], 199).is_err(), "before it has come");
    }
}
