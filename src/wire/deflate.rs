//! permessage-deflate (RFC 7692): negotiating it, and compressing and inflating one message.

mod codec;

use super::extensions::Extension;
use std::fmt;

use codec::WINDOW_BITS_MIN;
pub use codec::{Deflater, Inflater, WINDOW_BITS_MAX};

/// What was agreed on with one client. Its `Display` is the extension as the server answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Each of our messages is compressed on its own (§7.1.1.1).
    pub server_no_context_takeover: bool,
    /// Each of the client's messages is compressed on its own (§7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Our messages refer back by at most 2 to this power of bytes, if the client asked for a
    /// bound (§7.1.2.1).
    pub server_max_window_bits: Option<u8>,
    /// The client's messages refer back by at most 2 to this power of bytes, if the client offered
    /// to keep to a bound (§7.1.2.2).
    pub client_max_window_bits: Option<u8>,
}

impl Agreement {
    /// The window that our messages are compressed with.
    pub fn server_window_bits(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX)
    }

    /// How far back a message of the client's may refer to what it sent before, in bytes.
    pub fn client_window_bytes(&self) -> usize {
        match self.client_no_context_takeover {
            true => 0,
            false => 1 << self.client_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        if let Some(bits) = self.client_max_window_bits {
            write!(f, "; client_max_window_bits={bits}")?;
        }
        Ok(())
    }
}

const NAME: &str = "permessage-deflate";

/// The first of the client's offers that can be accepted (§5.1); `None` if all are declined.
///
/// An offer with an unknown parameter, one that is there twice, or a value that it may not have,
/// is declined, not an error (§7.1). So is `server_max_window_bits=8`, which the compressor cannot
/// hold to.
///
/// Nothing is answered that the offer does not have, although a server may (§7.1.1): some clients
/// refuse such an answer, and some do not read it. If a client offers to keep to a window, that window
/// has `client_window_bits` at the most; 8 is left unanswered, as compressors take 9 for it.
pub fn negotiate(offers: &[Extension<'_>], client_window_bits: u8) -> Option<Agreement> {
    offers.iter().filter(|offer| offer.name == NAME).find_map(|offer| {
        let mut agreement = read(offer)?;
        let window = agreement.client_max_window_bits.filter(|bits| *bits >= WINDOW_BITS_MIN);
        agreement.client_max_window_bits = window
            .map(|bits| bits.min(client_window_bits))
            .filter(|bits| *bits < WINDOW_BITS_MAX && !agreement.client_no_context_takeover);
        Some(agreement)
    })
}

/// What an offer asks for, if all of it can be agreed to.
fn read(offer: &Extension<'_>) -> Option<Agreement> {
    let mut asked = Agreement {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    for (name, value) in &offer.params {
        let repeated = match (*name, value) {
            ("server_no_context_takeover", None) => {
                std::mem::replace(&mut asked.server_no_context_takeover, true)
            }
            ("client_no_context_takeover", None) => {
                std::mem::replace(&mut asked.client_no_context_takeover, true)
            }
            ("server_max_window_bits", Some(value)) => {
                let bits = window_bits(value).filter(|bits| *bits >= WINDOW_BITS_MIN)?;
                asked.server_max_window_bits.replace(bits).is_some()
            }
            ("client_max_window_bits", value) => {
                let bits = value.as_ref().map_or(Some(WINDOW_BITS_MAX), |it| window_bits(it))?;
                asked.client_max_window_bits.replace(bits).is_some()
            }
            _ => return None,
        };
        if repeated {
            return None;
        }
    }
    Some(asked)
}

/// §7.1.2.1: a decimal integer between 8 and 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
