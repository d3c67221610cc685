//! Offers of permessage-deflate (RFC 6455 §9.1, RFC 7692 §5, §7.1).

use std::mem;

use super::handshake::is_token;

/// The parameters of an accepted offer, as they are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub server_no_context_takeover: bool,
    pub client_no_context_takeover: bool,
    pub server_max_window_bits: Option<u8>,
    pub client_max_window_bits: Option<u8>,
}

impl Answer {
    /// Reads an answer as strictly as a client may; a value is no quoted-string.
    pub fn read(text: &str) -> Option<Answer> {
        let mut answer = Answer::default();
        let mut parts = text.split("; ");
        if parts.next() != Some("permessage-deflate") {
            return None;
        }
        for part in parts {
            let repeated = match part.split_once('=') {
                None if part == "server_no_context_takeover" => {
                    mem::replace(&mut answer.server_no_context_takeover, true)
                }
                None if part == "client_no_context_takeover" => {
                    mem::replace(&mut answer.client_no_context_takeover, true)
                }
                Some((name @ ("server_max_window_bits" | "client_max_window_bits"), bits)) => {
                    let bits = (8..=15).find(|it: &u8| it.to_string() == bits)?;
                    let window = match name {
                        "server_max_window_bits" => &mut answer.server_max_window_bits,
                        _ => &mut answer.client_max_window_bits,
                    };
                    window.replace(bits).is_some()
                }
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(answer)
    }
}

/// A header that §9.1 of RFC 6455 has no grammar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

type Parameter = (String, Option<String>);

/// What to answer to the offers in some header lines: the first that is acceptable wins, `None` if
/// none is. Nothing is answered that was not offered. A client that offers to keep to a window gets one
/// of `client_bits` at the most.
pub fn negotiate(lines: &[&[u8]], client_bits: u8) -> Result<Option<Answer>, Malformed> {
    let mut offers = Vec::new();
    for line in lines {
        offers.extend(parse(line)?);
    }
    // 1#extension: if there is such a header, there is an extension.
    if offers.is_empty() && !lines.is_empty() {
        return Err(Malformed);
    }
    Ok(offers.iter().find_map(|(name, parameters)| accept(name, parameters, client_bits)))
}

fn accept(name: &str, parameters: &[Parameter], client_bits: u8) -> Option<Answer> {
    if name != "permessage-deflate" {
        return None;
    }
    let mut answer = Answer::default();
    // 8 is not answered: zlib would take 9 for it.
    let narrows = |hint: u8| Some(hint.min(client_bits)).filter(|bits| hint > 8 && *bits < 15);
    for (at, (name, value)) in parameters.iter().enumerate() {
        // §7.1: decline an offer with several parameters of one name.
        if parameters[..at].iter().any(|(other, _)| other == name) {
            return None;
        }
        let bits = |text: &String| (8..=15).find(|bits: &u8| bits.to_string() == *text);
        match (name.as_str(), value) {
            ("server_no_context_takeover", None) => answer.server_no_context_takeover = true,
            ("client_no_context_takeover", None) => answer.client_no_context_takeover = true,
            // §7.1.2.1: a value is required. A window of 2^8 is more than zlib can promise.
            ("server_max_window_bits", Some(value)) => {
                answer.server_max_window_bits = Some(bits(value).filter(|bits| *bits > 8)?);
            }
            // §7.1.2.2: a hint, with or without a value; nothing obliges to answer it.
            ("client_max_window_bits", None) => answer.client_max_window_bits = narrows(15),
            ("client_max_window_bits", Some(value)) => {
                answer.client_max_window_bits = narrows(bits(value)?);
            }
            _ => return None,
        }
    }
    if answer.client_no_context_takeover {
        // There is nothing to keep.
        answer.client_max_window_bits = None;
    }
    Some(answer)
}

/// extension-list = 1#extension; extension = token *( ";" token [ "=" (token | quoted-string) ] ).
fn parse(line: &[u8]) -> Result<Vec<(String, Vec<Parameter>)>, Malformed> {
    let mut offers = Vec::new();
    for member in split_outside_quotes(line, b',') {
        // RFC 9110 §5.6.1.2: empty members are ignored.
        if trim(&member).is_empty() {
            continue;
        }
        let mut parts = split_outside_quotes(&member, b';').into_iter();
        let name = token(&parts.next().unwrap_or_default())?;
        let parameters = parts.map(|part| parameter(&part)).collect::<Result<_, _>>()?;
        offers.push((name, parameters));
    }
    Ok(offers)
}

fn parameter(part: &[u8]) -> Result<Parameter, Malformed> {
    let mut halves = part.splitn(2, |byte| *byte == b'=');
    let name = token(halves.next().unwrap_or_default())?;
    let Some(value) = halves.next() else { return Ok((name, None)) };
    let value = trim(value);
    if value.first() != Some(&b'"') {
        return Ok((name, Some(whole_token(value)?)));
    }
    // RFC 9110 §5.6.4; RFC 6455 §9.1: unescaped, it MUST be a token.
    let [b'"', inside @ .., b'"'] = value else { return Err(Malformed) };
    let (mut unescaped, mut escaped) = (Vec::new(), false);
    for byte in inside {
        match byte {
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => return Err(Malformed),
            _ => {
                unescaped.push(*byte);
                escaped = false;
            }
        }
    }
    if escaped { Err(Malformed) } else { Ok((name, Some(whole_token(&unescaped)?))) }
}

/// Splits at a separator that stands in no quoted-string.
fn split_outside_quotes(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if *byte == separator && !quoted {
            parts.push(Vec::new());
            continue;
        }
        (quoted, escaped) = match byte {
            b'"' if !escaped => (!quoted, false),
            b'\\' if quoted && !escaped => (quoted, true),
            _ => (quoted, false),
        };
        parts.last_mut().expect("there is one").push(*byte);
    }
    parts
}

fn token(text: &[u8]) -> Result<String, Malformed> {
    whole_token(trim(text))
}

fn whole_token(text: &[u8]) -> Result<String, Malformed> {
    let text = str::from_utf8(text).map_err(|_| Malformed)?;
    if is_token(text.as_bytes()) { Ok(text.to_owned()) } else { Err(Malformed) }
}

fn trim(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
