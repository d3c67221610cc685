//! How commands and replies travel: over WebSockets, or as the body of an answer with posts for the way back.

use std::borrow::Cow;

use super::{
    Format,
    fields::{Malformed, Source},
    json::Object,
    protobuf::Fields,
};

/// What a connection of a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    /// Server-sent events, for what a page calls an `EventSource`. They are text.
    Events,
    /// The body of an answer: a line for each reply, or in Protobuf a length in front of each.
    Body,
}

/// What goes over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub transport: Transport,
    pub format: Format,
}

impl Way {
    /// Appends replies as they go over the connection.
    pub fn add_frame(self, frame: &[u8], out: &mut Vec<u8>) {
        match (self.transport, self.format) {
            _ if frame.is_empty() => {}
            (Transport::WebSocket, _) | (_, Format::Protobuf) => out.extend_from_slice(frame),
            (Transport::Events, Format::Json) => {
                for line in frame.split(|byte| *byte == b'\n') {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
                out.push(b'\n');
            }
            (Transport::Body, Format::Json) => {
                out.extend_from_slice(frame);
                out.push(b'\n');
            }
        }
    }
}

/// Commands that came in a request of their own, for a connection that takes none.
#[derive(Debug, PartialEq, Eq)]
pub struct Post<'a> {
    /// The name that the connection's client was given, and nobody else.
    pub session: Cow<'a, str>,
    pub frame: Cow<'a, [u8]>,
}

impl<'a> Post<'a> {
    pub fn read(format: Format, body: &'a [u8]) -> Result<Self, Malformed> {
        const SESSION: (&str, u32) = ("session", 2);
        const DATA: (&str, u32) = ("data", 3);
        match format {
            Format::Json => {
                let it = Object::read(str::from_utf8(body).map_err(|_| Malformed)?)?;
                let frame = match it.text(DATA)? {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                };
                Ok(Self { session: it.text(SESSION)?, frame })
            }
            Format::Protobuf => {
                let it = Fields::read(body)?;
                let frame = it.data(DATA)?.map(|it| it.as_bytes()).unwrap_or_default();
                Ok(Self { session: it.text(SESSION)?, frame: Cow::Borrowed(frame) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_in_a_body_as_its_client_takes_it_apart() {
        let frame = |transport, format, frame: &str| {
            let mut out = b"before".to_vec();
            Way { transport, format }.add_frame(frame.as_bytes(), &mut out);
            String::from_utf8(out.split_off("before".len())).unwrap()
        };
        let lines = "{\"id\":1}\n{}";
        for (transport, format, told) in [
            (Transport::WebSocket, Format::Json, lines),
            (Transport::Events, Format::Json, "data: {\"id\":1}\ndata: {}\n\n"),
            (Transport::Body, Format::Json, "{\"id\":1}\n{}\n"),
            (Transport::Body, Format::Protobuf, lines),
        ] {
            assert_eq!(frame(transport, format, lines), told);
            assert_eq!(frame(transport, format, ""), "");
        }
    }

    #[test]
    fn a_post_has_a_session_and_commands() {
        let read = |format, body: &[u8]| {
            let post = Post::read(format, body).ok()?;
            Some((post.session.into_owned(), String::from_utf8_lossy(&post.frame).into_owned()))
        };
        let told = |session: &str, frame: &str| Some((session.to_owned(), frame.to_owned()));
        for (body, post) in [
            (r#"{"session":"s","node":"n","data":"{}\n{}"}"#, told("s", "{}\n{}")),
            (r#"{"data":"\u00e9","session":"\u0073"}"#, told("s", "é")),
            ("{}", told("", "")),
            (r#"{"session":"s","data":{}}"#, None),
            (r#"{"session":1}"#, None),
            (r#"{"session":"s","data":"{}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(read(Format::Json, body.as_bytes()), post, "{body}");
        }
        assert_eq!(read(Format::Json, b"{\"data\":\"\xff\"}"), None);
        for (body, post) in [
            (&b"\x0a\x01n\x12\x01s\x1a\x02ab"[..], told("s", "ab")),
            (b"\x1a\x01a", told("", "a")),
            (b"\x12\x01s\x1a\x03ab", None),
            (b"\x12\x01\xff", None),
            (b"\x10\x01", None),
        ] {
            assert_eq!(read(Format::Protobuf, body), post, "{}", body.escape_ascii());
        }
        // What is no text is no less.
        let post = Post::read(Format::Protobuf, b"\x1a\x02\xff\x00").unwrap();
        assert_eq!(&*post.frame, b"\xff\x00");
    }
}
