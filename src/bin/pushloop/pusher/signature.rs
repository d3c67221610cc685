//! Signatures: HMAC-SHA256 by the secret of an application, in hexadecimal digits. `ring` compares them in constant
//! time.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use ring::hmac;

use super::{apps::App, md5};
use crate::web::hex;

/// How far the time of a request may be from the server's.
const SKEW_SECONDS: u64 = 600;

/// Why a request is not taken: a status, and a sentence.
type Refusal = (u16, &'static str);

impl App {
    /// Whether a client of this application may have a channel: `KEY:SIGNATURE`, of the socket, the channel, and what
    /// is said of the member.
    pub fn allows(&self, auth: &str, socket: &str, channel: &str, data: Option<&str>) -> bool {
        let data = data.map(|data| format!(":{data}")).unwrap_or_default();
        self.has_signed(auth, &format!("{socket}:{channel}{data}"))
    }

    /// Whether a client is this user.
    pub fn knows(&self, auth: &str, socket: &str, user_data: &str) -> bool {
        self.has_signed(auth, &format!("{socket}::user::{user_data}"))
    }

    /// The signature of a webhook with this body.
    pub fn sign(&self, body: &[u8]) -> String {
        hex(hmac::sign(&self.secret, body).as_ref())
    }

    fn has_signed(&self, auth: &str, text: &str) -> bool {
        let Some((key, signature)) = auth.split_once(':') else { return false };
        key == &*self.key && self.verifies(signature, text)
    }

    fn verifies(&self, signature: &str, text: &str) -> bool {
        let Some(code) = from_hex(signature) else { return false };
        hmac::verify(&self.secret, text.as_bytes(), &code).is_ok()
    }

    /// Whether a request to the HTTP API is signed by this application, now, and about this body; of a body that has
    /// not come yet, `None`.
    pub fn check<'a>(
        &self,
        (method, path): (&str, &str),
        query: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
        body: Option<&[u8]>,
        now: Duration,
    ) -> Result<(), Refusal> {
        let mut parameters = BTreeMap::new();
        for (name, value) in query {
            if parameters.insert(name.to_ascii_lowercase(), value).is_some() {
                return Err((400, "a parameter of the query comes twice"));
            }
        }
        let take = |name: &str| parameters.get(name).map_or("", |value| &**value);
        if take("auth_version") != "1.0" {
            return Err((401, "auth_version is to be 1.0"));
        }
        if take("auth_key") != &*self.key {
            return Err((401, "auth_key is not the key of this application"));
        }
        let is_signed = |(name, _): &(&String, &Cow<'_, str>)| *name != "auth_signature";
        let pairs = parameters.iter().filter(is_signed);
        let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("{method}\n{path}\n{}", pairs.join("&"));
        if !self.verifies(take("auth_signature"), &text) {
            return Err((401, "auth_signature is not the one of this request"));
        }
        let is_near = |time: u64| time.abs_diff(now.as_secs()) <= SKEW_SECONDS;
        if !take("auth_timestamp").parse().is_ok_and(is_near) {
            return Err((401, "auth_timestamp is not within 600 s of the server's time"));
        }
        match body {
            Some(body) if !body.is_empty() || parameters.contains_key("body_md5") => {
                let is_it = take("body_md5").eq_ignore_ascii_case(&md5::hex(body));
                is_it.then_some(()).ok_or((401, "body_md5 is not that of the body"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Thirty-two bytes, as digits.
fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |it: u8| char::from(it).to_digit(16);
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pusher::AppFile;

    const KEY: &str = "278d425bdf160c739803";
    const SOCKET: &str = "1234.1234";

    /// The one of Pusher's documentation.
    fn app() -> App {
        let file = AppFile::parse(&format!("3:{KEY}:f")).unwrap();
        App::new(0, &file, b"7ad3773142a6692b25b8\n").unwrap()
    }

    fn auth(signature: &str) -> String {
        format!("{KEY}:{signature}")
    }

    /// https://pusher.com/docs/channels/library_auth_reference/auth-signatures
    #[test]
    fn the_worked_examples_of_the_documentation_hold() {
        let private = auth("58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4");
        assert!(app().allows(&private, SOCKET, "private-foobar", None));
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        let presence = auth("31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80");
        assert!(app().allows(&presence, SOCKET, "presence-foobar", Some(data)));
        let user = auth("4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba");
        assert!(app().knows(&user, SOCKET, r#"{"id":"12345"}"#));
        for (auth, socket, channel, data) in [
            (&private, "1234.1235", "private-foobar", None),
            (&private, SOCKET, "private-foobaz", None),
            (&private, SOCKET, "private-foobar", Some("")),
            (&private.replace(KEY, "other"), SOCKET, "private-foobar", None),
            (&private.to_uppercase(), SOCKET, "private-foobar", None),
            (&private.replace("58df", "58de"), SOCKET, "private-foobar", None),
            (&private.replace("c3a4", ""), SOCKET, "private-foobar", None),
            (&private.replace("c3a4", "c3"), SOCKET, "private-foobar", None),
            (&private.replace("c3a4", "c3ag"), SOCKET, "private-foobar", None),
            (&private.replace("c3a4", "c3a4a4"), SOCKET, "private-foobar", None),
            (&presence, SOCKET, "presence-foobar", None),
            (&user, SOCKET, "private-foobar", None),
            (&auth(""), SOCKET, "private-foobar", None),
            (&String::new(), SOCKET, "private-foobar", None),
        ] {
            assert!(!app().allows(auth, socket, channel, data), "{auth} {socket} {channel}");
        }
    }

    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const QUERY: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
                         &body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=\
                         da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";

    fn check(
        line: (&str, &str),
        query: &str,
        body: Option<&[u8]>,
        seconds: u64,
    ) -> Result<(), Refusal> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
        app().check(line, pairs, body, Duration::from_secs(seconds))
    }

    /// https://pusher.com/docs/channels/library_auth_reference/rest-api
    #[test]
    fn the_worked_example_of_a_request_holds_and_nothing_like_it() {
        const LINE: (&str, &str) = ("POST", "/apps/3/events");
        const NOW: u64 = 1_353_088_179;
        for (query, body, now) in [
            (QUERY, Some(BODY), NOW),
            (QUERY, None, NOW),
            (QUERY, Some(BODY), NOW + 600),
            (QUERY, Some(BODY), NOW - 600),
            (&QUERY.replace("auth_key", "Auth_Key"), Some(BODY), NOW),
        ] {
            assert_eq!(check(LINE, query, body, now), Ok(()), "{query}");
        }
        let status = |line, query: &str, body, now| check(line, query, body, now).unwrap_err().0;
        let more = format!("{QUERY}&more=1");
        for (line, query, body, now, expected) in [
            (LINE, QUERY, Some(&BODY[1..]), NOW, 401),
            (LINE, QUERY, Some(b"".as_slice()), NOW, 401),
            (LINE, QUERY, Some(BODY), NOW + 601, 401),
            (LINE, QUERY, Some(BODY), NOW - 601, 401),
            (("GET", "/apps/3/events"), QUERY, Some(BODY), NOW, 401),
            (("POST", "/apps/3/batch_events"), QUERY, Some(BODY), NOW, 401),
            (LINE, &more, Some(BODY), NOW, 401),
            (LINE, "", Some(BODY), NOW, 401),
            (LINE, &QUERY.replace("278d", "278e"), Some(BODY), NOW, 401),
            (LINE, &QUERY.replace("=1.0", "=1.1"), Some(BODY), NOW, 401),
            (LINE, &QUERY.replace("6c", "6d"), Some(BODY), NOW, 401),
            (LINE, &format!("{QUERY}&AUTH_KEY={KEY}"), Some(BODY), NOW, 400),
        ] {
            assert_eq!(status(line, query, body, now), expected, "{line:?} {query}");
        }
    }

    /// A body that nobody has signed is none.
    #[test]
    fn a_body_needs_its_sum() {
        let text = "GET\n/apps/3/channels\nauth_key=278d425bdf160c739803&auth_timestamp=5&auth_version=1.0";
        let code = app().sign(text.as_bytes());
        let query =
            format!("auth_key={KEY}&auth_timestamp=5&auth_version=1.0&auth_signature={code}");
        let line = ("GET", "/apps/3/channels");
        assert_eq!(check(line, &query, Some(b""), 5), Ok(()));
        assert_eq!(check(line, &query, Some(b"{}"), 5).unwrap_err().0, 401);
    }
}
