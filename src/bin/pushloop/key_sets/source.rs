//! Where a set of keys is.

use std::{fmt, net::IpAddr};

use ureq::http::Uri;

use crate::web;

/// A set's URL, and of which issuer its keys are, if it is one's alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub issuer: Option<String>,
    pub url: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Source {
    /// Reads `URL` or `ISSUER=URL`. An issuer is often a URL itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ends = ["=https://", "=http://"].iter().filter_map(|it| text.find(it)).min();
        let (issuer, url) = match ends {
            Some(at) => (Some(text[..at].to_owned()), &text[at + 1..]),
            None => (None, text),
        };
        let wrong =
            || format!("'{text}' is neither URL nor ISSUER=URL, as in https://HOST[:PORT]/PATH");
        let is_empty = issuer.as_ref().is_some_and(String::is_empty);
        let parsed = web::url(url).filter(|_| !is_empty).ok_or_else(wrong)?;
        if !web::is_https(url) && !is_of_this_machine(&parsed) {
            return Err(format!(
                "'{url}' is http, and who is on the way could put in keys of their own: it is to be https://, or \
                 http:// of this machine (localhost, 127.0.0.1, [::1])"
            ));
        }
        Ok(Self { issuer, url: url.to_owned() })
    }
}

/// Whether what is asked there does not leave the machine.
fn is_of_this_machine(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|it| it.to_canonical().is_loopback())
}
