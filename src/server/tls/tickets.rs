//! Session tickets without state: whoever has the secret can open what another has sealed, be it another
//! loop, or the process after a restart. rustls' own tickets are sealed by keys that cannot be handed on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::SHA256_OUTPUT_LEN,
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::ProducesTickets;

/// For how long one key seals. It opens for as long again.
const PERIOD_SECONDS: u64 = 6 * 60 * 60;
const PERIOD_BYTES: usize = 8;
/// A ticket holds the client's certificates, if there are any.
const TICKET_BYTES_MAX: usize = 64 * 1024;

/// What tickets' keys are made of.
#[derive(Clone)]
pub(super) struct Secret(Prk);

impl Secret {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, b"pushloop TLS tickets 1").extract(bytes))
    }
}

/// The tickets of one client authority.
pub(super) struct Tickets {
    secret: Secret,
    /// Of the client authority: a ticket stands for a certificate that was looked at, and is no good where
    /// another authority does so.
    authority: [u8; SHA256_OUTPUT_LEN],
    /// Seconds since 1970, as the loop last said.
    now: Arc<AtomicU64>,
    random: SystemRandom,
}

impl Tickets {
    pub(super) fn new(
        secret: Secret,
        authority: [u8; SHA256_OUTPUT_LEN],
        now: Arc<AtomicU64>,
    ) -> Self {
        Self { secret, authority, now, random: SystemRandom::new() }
    }

    fn period(&self) -> u64 {
        self.now.load(Ordering::Relaxed) / PERIOD_SECONDS
    }

    fn key(&self, period: [u8; PERIOD_BYTES]) -> Option<LessSafeKey> {
        let info = [&self.authority[..], &period];
        let key = self.secret.0.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD_SECONDS as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let period = self.period().to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let key = self.key(period)?;
        let (nonce, sealer) = (nonce, Nonce::assume_unique_for_key(nonce));
        key.seal_in_place_append_tag(sealer, Aad::from(period), &mut sealed).ok()?;
        Some([&period[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (period, rest) = ticket.split_first_chunk::<PERIOD_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // One period ahead, as of a server whose clock is a little ahead.
        if u64::from_be_bytes(*period).abs_diff(self.period()) > 1 {
            return None;
        }
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len =
            self.key(*period)?.open_in_place(nonce, Aad::from(*period), &mut opened).ok()?.len();
        opened.truncate(len);
        Some(opened)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = &[7; 32];

    fn tickets(secret: &[u8], authority: u8, seconds: u64) -> Tickets {
        let now = Arc::new(AtomicU64::new(seconds));
        Tickets::new(Secret::new(secret), [authority; SHA256_OUTPUT_LEN], now)
    }

    #[test]
    fn a_ticket_opens_with_the_same_secret_and_authority_and_with_no_other() {
        let ticket = tickets(SECRET, 1, 1_000_000).encrypt(b"a session").unwrap();
        let opened = |secret, authority| tickets(secret, authority, 1_000_000).decrypt(&ticket);
        assert_eq!(opened(SECRET, 1).as_deref(), Some(&b"a session"[..]));
        assert_eq!((opened(SECRET, 2), opened(&[8; 32], 1)), (None, None));
    }

    #[test]
    fn a_ticket_opens_in_its_period_and_in_those_beside_it() {
        let ticket = tickets(SECRET, 1, 10 * PERIOD_SECONDS).encrypt(b"a session").unwrap();
        let opens = |seconds| tickets(SECRET, 1, seconds).decrypt(&ticket).is_some();
        let periods = [8, 9, 10, 11, 12].map(|period| opens(period * PERIOD_SECONDS));
        assert_eq!(periods, [false, true, true, true, false]);
    }

    #[test]
    fn no_byte_of_a_ticket_can_be_changed_or_left_out() {
        let tickets = tickets(SECRET, 1, 1_000_000);
        let ticket = tickets.encrypt(b"a session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} bytes");
        }
        assert_eq!(tickets.decrypt(&vec![0; TICKET_BYTES_MAX + 1]), None);
        assert_ne!(tickets.encrypt(b"a session"), Some(ticket), "the nonce is new");
    }
}
