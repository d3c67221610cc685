//! TLS: what is read at the start, and again with the other options.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use pushloop::{Tls, TlsCertificates, TlsError};

use crate::options::Options;

/// What a file with a secret may have.
const SECRET_BYTES_MAX: u64 = 4096;

/// TLS as the options say; `None` if no listener is for it.
pub fn of(options: &Options) -> io::Result<Option<Tls>> {
    let Some(certificates) = load(options)? else { return Ok(None) };
    let tls = match &options.tls.ticket_secret {
        None => Tls::new(certificates),
        Some(path) => {
            let named = |error: &dyn std::fmt::Display| {
                io::Error::other(format!("{}: {error}", path.display()))
            };
            let secret = secret(path).map_err(|error| named(&error))?;
            Ok(Tls::with_ticket_secret(certificates, &secret).map_err(|error| named(&error))?)
        }
    };
    Ok(Some(tls?))
}

/// Reads certificates and keys, and checks them; `None` if no socket is for TLS.
pub fn load(options: &Options) -> Result<Option<TlsCertificates>, TlsError> {
    if !options.has_tls() {
        return Ok(None);
    }
    let files = &options.tls;
    let mut certificates = TlsCertificates::new();
    for (chain, key) in files.certificates.iter().zip(&files.keys) {
        certificates = certificates.files(chain, key)?;
    }
    if let Some(path) = &files.client_authority {
        certificates = certificates.client_authority_file(path)?;
    }
    Ok(Some(certificates))
}

fn secret(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
