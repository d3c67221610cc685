//! Which client a connection is, and of which user.

use std::{borrow::Cow, sync::Arc};

use ring::rand::{SecureRandom, SystemRandom};

use crate::{
    auth::{Claims, Principal},
    centrifuge::{
        codes::{Failure, Refused},
        replies::Client,
    },
};

/// A connection as others are told of it. Each of many has one, so the client's id is text only where it is told, and what
/// a token says is not copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    client: [u8; 16],
    /// Those that it came with: the ones that follow are of the same user.
    claims: Option<Arc<Claims>>,
}

impl Identity {
    pub fn of(who: &Principal) -> Result<Self, Refused> {
        Ok(Self { client: random().ok_or(Failure::INTERNAL)?, claims: who.claims().cloned() })
    }

    pub fn client(&self) -> String {
        uuid(self.client)
    }

    /// Empty for one without a token.
    pub fn user(&self) -> &str {
        self.claims.as_ref().and_then(|claims| claims.subject.as_deref()).unwrap_or_default()
    }

    /// The member that it is where it is known by members who is there, and what is told of it.
    pub fn member(&self) -> (Cow<'_, str>, &str) {
        let user = self.user();
        let id = if user.is_empty() { self.client().into() } else { user.into() };
        (id, self.info().unwrap_or_default())
    }

    /// Its name where servers share who is in a channel: which client it is, and then of which user.
    pub fn shared(&self) -> String {
        self.client() + self.user()
    }

    pub fn info(&self) -> Option<&str> {
        self.claims.as_ref()?.info.as_deref()
    }

    pub fn as_client(&self) -> Client<'_> {
        Client { client: self.client().into(), user: self.user(), info: self.info() }
    }
}

/// A name that nobody guesses. `None` without randomness.
pub(super) fn random_uuid() -> Option<String> {
    random().map(uuid)
}

fn random() -> Option<[u8; 16]> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(random)
}

/// A random UUID (RFC 9562 §5.4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (nth, byte) in bytes.into_iter().enumerate() {
        if matches!(nth, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let digits = [byte >> 4, byte & 0xf].map(|it| b"0123456789abcdef"[usize::from(it)]);
        text.extend(digits.map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_random_bits() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        let bytes = [1, 0x23, 0x45, 0x67, 0x89, 0xab, 0x0c, 0xde, 0x0f, 9, 8, 7, 6, 5, 4, 3];
        assert_eq!(uuid(bytes), "01234567-89ab-4cde-8f09-080706050403");
    }
}
