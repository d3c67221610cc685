//! Records that no client of rustls makes.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConnection, ConnectionTrafficSecrets};

use super::{Input, Server, met};

/// A client's end of TLS 1.3, for any content.
struct Sealer {
    key: LessSafeKey,
    iv: Vec<u8>,
    number: u64,
}

impl Sealer {
    fn of(client: ClientConnection) -> Self {
        let (number, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another suite")
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().to_vec(), number }
    }

    /// A record of this kind. RFC 8446 §5.2 and §5.3.
    fn seals(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut inner = [content, &[kind]].concat();
        let header = [23, 3, 3, 0, (inner.len() + 16) as u8];
        let mut nonce: [u8; 12] = self.iv[..].try_into().unwrap();
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut inner).unwrap();
        [&header[..], &inner].concat()
    }
}

/// Reads what is there. Gives how many bytes of plaintext it was, or none if it failed.
fn takes(server: &mut Server, bytes: &[u8]) -> Option<usize> {
    server.pipe.0.borrow_mut().to_server.extend(bytes);
    match server.sessions.read(&server.stream, &mut [0; 4096]) {
        Ok(Input::Bytes { count, .. }) => Some(count),
        Ok(Input::End) => panic!("it has not ended"),
        Err(_) => None,
    }
}

#[test]
fn half_a_message_of_the_handshake_is_kept_while_the_server_writes() {
    let (client, mut server) = met();
    let mut sealer = Sealer::of(client);
    // A KeyUpdate (RFC 8446 §4.6.3), in two records.
    assert_eq!(takes(&mut server, &sealer.seals(22, &[24, 0])), Some(0));
    for _ in 0..2 {
        assert_eq!(server.sessions.write(&server.stream, &[7; 100]).unwrap(), 100);
    }
    assert!(server.sessions.counts().tls_held_bytes > 0);
    assert_eq!(takes(&mut server, &sealer.seals(22, &[0, 1, 0])), Some(0));
    assert_eq!(server.sessions.counts().tls_held_bytes, 0);
    assert_eq!(server.sessions.write(&server.stream, &[7; 100]).unwrap(), 100);
    // The keys are others now, which this client does not know.
    assert_eq!(takes(&mut server, &sealer.seals(23, b"?")), None);
    assert_eq!(server.sessions.counts().tls_broken, 1);
}

#[test]
fn records_without_end_that_say_nothing_are_refused() {
    // Empty ones, and warnings (RFC 8446 §6.1: user_canceled).
    for (kind, content) in [(23, &[][..]), (21, &[1, 90])] {
        let (client, mut server) = met();
        let mut sealer = Sealer::of(client);
        let taken =
            (0..100).take_while(|_| takes(&mut server, &sealer.seals(kind, content)).is_some());
        assert!(taken.count() <= 32, "of kind {kind}");
    }
}

#[test]
fn what_came_before_a_broken_record_is_given() {
    let (client, mut server) = met();
    let mut sealer = Sealer::of(client);
    let mut bytes = sealer.seals(23, b"the last words");
    bytes.extend([23, 3, 3, 0, 17]);
    bytes.extend([0; 17]);
    assert_eq!(takes(&mut server, &bytes), Some(14));
    assert_eq!(takes(&mut server, &[]), None);
}
