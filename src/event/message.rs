//! Messages, received and to be sent.

use std::borrow::Cow;

use crate::wire::{BodyKind, ContentError, Request};

/// A whole message (RFC 6455 §5.6): received, or to be sent. What sends one takes whatever is
/// [`AsMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The text, if it is text.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The payload's bytes, whichever kind it is.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

impl Request {
    /// The body as a message, once it has come: text or bytes, as its [`body_kind`](Self::body_kind)
    /// says.
    ///
    /// # Errors
    ///
    /// Every [`ContentError`]: what to answer is its [`status`](ContentError::status).
    pub fn body_message(&self) -> Result<Message<'_>, ContentError> {
        match self.body_kind()? {
            BodyKind::Binary => Ok(Message::Binary(self.body())),
            BodyKind::Text => match str::from_utf8(self.body()) {
                Ok(text) => Ok(Message::Text(text)),
                Err(_) => Err(ContentError::NotUtf8),
            },
        }
    }
}

/// What can be sent as a [`Message`]: text as text, bytes as binary. Methods take it by reference or by
/// value, `publish("t", "x")` or `publish("t", format!("{x}"))`, and copy it either way.
pub trait AsMessage {
    /// The message.
    fn as_message(&self) -> Message<'_>;
}

impl AsMessage for Message<'_> {
    fn as_message(&self) -> Message<'_> {
        *self
    }
}

impl AsMessage for str {
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for String {
    fn as_message(&self) -> Message<'_> {
        Message::Text(self)
    }
}

impl AsMessage for [u8] {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl<const N: usize> AsMessage for [u8; N] {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl AsMessage for Vec<u8> {
    fn as_message(&self) -> Message<'_> {
        Message::Binary(self)
    }
}

impl<T: AsMessage + ?Sized> AsMessage for &T {
    fn as_message(&self) -> Message<'_> {
        (**self).as_message()
    }
}

impl<T: AsMessage + ToOwned<Owned: AsMessage> + ?Sized> AsMessage for Cow<'_, T> {
    fn as_message(&self) -> Message<'_> {
        (**self).as_message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_as_text_and_bytes_as_binary() {
        fn sent(message: impl AsMessage) -> String {
            format!("{:?}", message.as_message())
        }
        let (text, bytes) = (String::from("a"), vec![97]);
        let texts = [sent("a"), sent(&text), sent("a".to_string()), sent(Cow::from("a"))];
        assert_eq!(texts, [const { "Text(\"a\")" }; 4]);
        let binaries =
            [sent(b"a"), sent([97]), sent(&bytes), sent(&bytes[..]), sent(bytes.clone())];
        assert_eq!(binaries, [const { "Binary([97])" }; 5]);
        assert_eq!(sent(Message::Text("a")), sent("a"));
    }
}
