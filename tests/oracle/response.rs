//! What a server answers to a request, byte by byte (RFC 9112 §4, §5).

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, and values, in the order in which they came.
    pub fields: Vec<(String, String)>,
    /// What comes behind the blank line.
    pub rest: Vec<u8>,
}

impl Response {
    /// The values of the fields with this name, which is in lower case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a field's list has this member.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).iter().flat_map(|value| value.split(", ")).any(|it| it == member)
    }
}

/// Reads a head of which each line is as strict as a server should be: no space that need not be
/// there, no control character, and ASCII only, but for the value of a field, which an application
/// may choose: RFC 9110 §5.5 lets it have what is not ASCII (obs-text).
#[track_caller]
pub fn parse(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("the head ends");
    let head = std::str::from_utf8(&bytes[..end]).expect("the head is UTF-8");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let (status, reason) = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_once(' '))
        .expect("a status line of HTTP/1.1");
    assert!(status.len() == 3 && reason.bytes().all(is_visible_or_space), "{line:?}");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a name and a value");
        assert!(super::handshake::is_token(name.as_bytes()), "{line:?}");
        let is_text = |byte| is_visible_or_space(byte) || byte >= 128;
        let trimmed = value.trim_matches([' ', '\t']);
        assert!(value.bytes().all(is_text) && trimmed == value, "{line:?}");
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Response {
        status: status.parse().expect("three digits"),
        fields: lines.map(field).collect(),
        rest: bytes[end + 4..].to_vec(),
    }
}

fn is_visible_or_space(byte: u8) -> bool {
    (32..127).contains(&byte) || byte == b'\t'
}
