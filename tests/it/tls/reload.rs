//! Certificates that are replaced, and sessions that are resumed in spite of that.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::support::process::scratch;

#[test]
fn a_session_is_resumed_after_a_reload_and_not_behind_another_client_authority() {
    let [authority, clients, others] = [(); 3].map(|()| Authority::new());
    let own = clients.signs(&["a client"]);
    let load = |of: &[&Authority]| {
        let pem: String = of.iter().map(|it| &*it.pem).collect();
        authority.certifies(&[&["localhost"]]).client_authority(pem.as_bytes())
    };
    for version in [&version::TLS12, &version::TLS13] {
        let tls = Tls::new(load(&[&clients]).unwrap()).unwrap();
        let server = serves(&tls);
        let client = authority.client_of(&[version], Some(&own));
        let opens = || is_resumed(&client.opens(server.address()));
        assert_eq!([opens(), opens()], [false, true]);
        tls.reload(|| load(&[&clients])).unwrap();
        assert!(opens(), "the certificates are new, the authority is not");
        tls.reload(|| load(&[&clients, &others])).unwrap();
        assert_eq!([opens(), opens()], [false, true]);
    }
}

#[test]
fn a_session_is_resumed_by_another_server_with_the_same_secret() {
    let authority = Authority::new();
    let serves_with = |secret: &[u8]| {
        let certificates = authority.certifies(&[&["localhost"]]);
        serves(&Tls::with_ticket_secret(certificates, secret).unwrap())
    };
    for version in [&version::TLS12, &version::TLS13] {
        let client = authority.client_of(&[version], None);
        let resumes = |secret| is_resumed(&client.opens(serves_with(secret).address()));
        assert!(!resumes(&[1; 32]));
        assert!(resumes(&[1; 32]));
        assert!(!resumes(&[2; 32]));
    }
    let short = Tls::with_ticket_secret(authority.certifies(&[&["localhost"]]), &[0; 31]);
    let expected = "the ticket secret: it has 31 bytes, and needs 32 at least";
    assert_eq!(short.unwrap_err().to_string(), expected);
}

#[test]
fn the_first_end_of_a_certificate_is_told_and_another_after_a_reload() {
    let authority = Authority::new();
    let until = |years: &[i32]| {
        let mut pairs = years.iter().map(|year| authority.signs_until(&["localhost"], *year));
        pairs.try_fold(TlsCertificates::new(), |certificates, (chain, key)| {
            certificates.pem(chain.as_bytes(), key.as_bytes())
        })
    };
    let tls = Tls::new(until(&[2040, 2035, 2060]).unwrap()).unwrap();
    let server = serves(&tls);
    let tells = |seconds| server.until(move |hub| hub.counters().tls_expires_seconds == seconds);
    tells(2_051_222_400);
    tls.reload(|| until(&[2060])).unwrap();
    tells(2_840_140_800);
}

#[test]
fn nothing_is_taken_early() {
    let authority = Authority::new();
    let server = serves(&localhost(&authority));
    let mut client = authority.client();
    client.0.enable_early_data = true;
    client.opens(server.address());
    let mut again = client.tls("localhost");
    assert!(again.early_data().is_none(), "the ticket allows none (RFC 8446 §4.6.1)");
    let mut stream = StreamOwned::new(again, dial(server.address()));
    upgrade(&mut stream, "/");
    assert!(is_resumed(&stream));
}

/// Reloads, one in ten of something broken, while clients connect all the time.
#[test]
fn no_handshake_fails_while_certificates_are_reloaded() {
    const TIMES: usize = 300;
    let authority = Authority::new();
    let tls = localhost(&authority);
    let server = serves(&tls);
    let mut kept = authority.client().opens(server.address());
    let pairs: Vec<_> = (0..4).map(|_| authority.signs(&["localhost"])).collect();
    let (is_over, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let client = authority.client();
                while !is_over.load(Ordering::Relaxed) {
                    client.opens(server.address());
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for at in 0..TIMES {
            // A handshake at least between one and the next.
            let before = handshakes.load(Ordering::Relaxed);
            let (chain, key) = &pairs[at % 4];
            let key = if at % 10 == 9 { &pairs[(at + 1) % 4].1 } else { key };
            let load = || TlsCertificates::new().pem(chain.as_bytes(), key.as_bytes());
            let broken = tls.reload(load).map_err(|error| error.to_string());
            let expected = "key 1: the key is not that of the certificate in certificate 1";
            assert_eq!(broken, if at % 10 == 9 { Err(expected.into()) } else { Ok(()) });
            while handshakes.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    echoes(&mut kept, "what was there is as it was");
    let counts = server.handle().counters();
    assert_eq!((counts.tls_handshakes_failed, counts.tls_handshakes_dropped), (0, 0));
    let expected = (TIMES as u64 / 10 * 9, TIMES as u64 / 10);
    assert_eq!(tls.reloads(), expected);
    server.until(move |hub| {
        let counts = hub.counters();
        (counts.tls_reloads, counts.tls_reloads_failed) == expected
    });
}

#[test]
fn what_is_wrong_with_certificates_is_said_with_the_file() {
    let authority = Authority::new();
    let folder = scratch("tls");
    std::fs::create_dir(&folder).unwrap();
    let [chain, key, other, empty, missing] =
        ["chain.pem", "key.pem", "other.pem", "empty.pem", "missing.pem"].map(|it| folder.join(it));
    let (pair, stranger) = (authority.signs(&["localhost"]), authority.signs(&["localhost"]));
    for (path, pem) in [(&chain, &*pair.0), (&key, &pair.1), (&other, &stranger.1), (&empty, "")] {
        std::fs::write(path, pem).unwrap();
    }
    let problem = |chain: &std::path::Path, key: &std::path::Path| {
        let problem = TlsCertificates::new().files(chain, key).err().map(|it| it.to_string());
        problem.map(|it| it.replace(&format!("{}/", folder.display()), ""))
    };
    assert_eq!(problem(&chain, &key), None);
    for (chain, key, expected) in [
        (&missing, &key, "missing.pem: No such file or directory (os error 2)"),
        (&empty, &key, "empty.pem: there is no certificate in it"),
        (&key, &key, "key.pem: there is no certificate in it"),
        (&chain, &chain, "chain.pem: there is no unencrypted private key in it"),
        (&chain, &other, "other.pem: the key is not that of the certificate in chain.pem"),
    ] {
        assert_eq!(problem(chain, key).as_deref(), Some(expected));
    }
    // A megabyte, and a byte more.
    for (bytes, expected) in [
        (1 << 20, "empty.pem: there is no certificate in it"),
        ((1 << 20) + 1, "empty.pem: it has more than 1048576 bytes"),
    ] {
        std::fs::write(&empty, vec![b'\n'; bytes]).unwrap();
        assert_eq!(problem(&empty, &key).as_deref(), Some(expected));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let problem = TlsCertificates::new().pem(broken.as_bytes(), pair.1.as_bytes()).unwrap_err();
    assert!(
        problem.to_string().starts_with("certificate 1: invalid peer certificate"),
        "{problem}"
    );
    let problem = Tls::new(TlsCertificates::new()).unwrap_err();
    assert_eq!(problem.to_string(), "TLS: it needs a certificate");
}
