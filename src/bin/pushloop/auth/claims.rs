//! What a token says, once it is verified.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Action,
    pattern::Grants,
    token::{Cause, Invalid},
};

/// Bytes of `sub`: as many as a member's id may have.
const SUB_BYTES_MAX: usize = 255;
/// Bytes of `info` as JSON: as many as a member's may have.
const INFO_BYTES_MAX: usize = 1024;
/// How much a clock that makes tokens may be ahead of this one. That they expire is exact.
const LEEWAY: Duration = Duration::from_secs(60);

/// What a token says that is verified.
#[derive(Debug)]
pub struct Claims {
    /// Who it is for.
    pub subject: Option<String>,
    /// What others are told of the subject, as JSON.
    pub info: Option<String>,
    /// Since 1970, as the clock on the wall has it.
    pub expires: Duration,
    /// The one topic that it is for, beside what another token says of its subject.
    pub channel: Option<String>,
    /// Topics to which its connection is subscribed without asking for it.
    pub channels: Vec<String>,
    subscribe: Grants,
    publish: Grants,
}

/// What is asked of claims besides.
pub struct Expected<'a> {
    /// Any of these, if there is one.
    pub issuers: &'a [String],
    pub audiences: &'a [String],
    /// Since 1970.
    pub now: Duration,
}

impl Claims {
    pub fn grants(&self, action: Action) -> &Grants {
        match action {
            Action::Subscribe => &self.subscribe,
            Action::Publish => &self.publish,
        }
    }

    /// Reads what is verified. `now` is not before the moments that it names, and before that of its end.
    pub(super) fn read(claims: &Map<String, Value>, expected: &Expected) -> Result<Self, Invalid> {
        let Some(exp) = claims.get("exp") else {
            return Err(wrong("the token has no claim exp: it would be good for ever"));
        };
        let expires = moment(exp).ok_or_else(|| wrong("the token's claim exp is no moment"))?;
        if expires <= expected.now {
            return Err(Invalid::new(Cause::Expired, "the token has expired (exp)"));
        }
        if let Some(nbf) = claims.get("nbf") {
            let begins = moment(nbf).ok_or_else(|| wrong("the token's claim nbf is no moment"))?;
            if begins > expected.now + LEEWAY {
                return Err(wrong("the token is not valid yet (nbf)"));
            }
        }
        check_parties(claims, expected)?;
        let (mut subscribe, mut publish) = (Grants::default(), Grants::default());
        let add: Adds = Grants::add;
        add_all(&mut subscribe, claims.get("subscribe"), "subscribe", add)?;
        add_all(&mut publish, claims.get("publish"), "publish", add)?;
        // Names as they are, also where a * is their end.
        add_all(&mut subscribe, claims.get("channels"), "channels", Grants::add_name)?;
        let channel = channel(claims)?;
        if let Some(channel) = &channel {
            let added = subscribe.add_name(channel);
            added.map_err(|why| wrong(format!("the token's claim channel {why}")))?;
        }
        if let Some(mercure) = claims.get("mercure") {
            let Value::Object(mercure) = mercure else {
                return Err(wrong("the token's claim mercure is no object"));
            };
            let add: Adds = Grants::add_mercure;
            add_all(&mut subscribe, mercure.get("subscribe"), "mercure.subscribe", add)?;
            add_all(&mut publish, mercure.get("publish"), "mercure.publish", add)?;
        }
        let (subject, info) = (subject(claims)?, info(claims)?);
        Ok(Self { subject, info, expires, channel, channels: channels(claims), subscribe, publish })
    }
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> Invalid {
    Invalid::new(Cause::Claims, why)
}

/// Seconds since 1970, which may have a fraction (RFC 7519 §2). What is later than the year 275,760, as
/// far as browsers count, is a mistake.
fn moment(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().filter(|seconds| (0.0..8.64e12).contains(seconds))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Who made it, and for whom.
fn check_parties(claims: &Map<String, Value>, expected: &Expected) -> Result<(), Invalid> {
    let is_one = |value: &Value, of: &[String]| of.iter().any(|it| value == it.as_str());
    let by_us = |iss: &Value| is_one(iss, expected.issuers);
    if !expected.issuers.is_empty() && !claims.get("iss").is_some_and(by_us) {
        return Err(wrong("the token's claim iss is none that is expected here"));
    }
    let is_for_us = match claims.get("aud") {
        None => expected.audiences.is_empty(),
        Some(Value::Array(list)) => list.iter().any(|it| is_one(it, expected.audiences)),
        Some(aud) => is_one(aud, expected.audiences),
    };
    // RFC 7519 §4.1.3: it MUST be refused also where no audience is expected.
    if !is_for_us {
        return Err(wrong("the token's claim aud does not name this server (--jwt-audience)"));
    }
    Ok(())
}

type Adds = fn(&mut Grants, &str) -> Result<(), &'static str>;

fn add_all(
    grants: &mut Grants,
    patterns: Option<&Value>,
    claim: &str,
    add: Adds,
) -> Result<(), Invalid> {
    let Some(patterns) = patterns else { return Ok(()) };
    let is_wrong = |why: &str| wrong(format!("the token's claim {claim} {why}"));
    let Value::Array(patterns) = patterns else { return Err(is_wrong("is no array of texts")) };
    for pattern in patterns {
        let pattern = pattern.as_str().ok_or_else(|| is_wrong("is no array of texts"))?;
        add(grants, pattern).map_err(is_wrong)?;
    }
    Ok(())
}

/// That it is a list of texts has been found before.
fn channels(claims: &Map<String, Value>) -> Vec<String> {
    let channels = claims.get("channels").and_then(Value::as_array).into_iter().flatten();
    channels.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn channel(claims: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    match claims.get("channel") {
        None => Ok(None),
        Some(Value::String(channel)) => Ok(Some(channel.clone())),
        Some(_) => Err(wrong("the token's claim channel is no text")),
    }
}

fn subject(claims: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    match claims.get("sub") {
        None => Ok(None),
        Some(Value::String(sub)) if sub.is_empty() => Err(wrong("the token's claim sub is empty")),
        Some(Value::String(sub)) if sub.len() > SUB_BYTES_MAX => Err(wrong(format!(
            "the token's claim sub is longer than sub_bytes_max = {SUB_BYTES_MAX} bytes"
        ))),
        Some(Value::String(sub)) => Ok(Some(sub.clone())),
        Some(_) => Err(wrong("the token's claim sub is no text")),
    }
}

fn info(claims: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    let Some(info) = claims.get("info") else { return Ok(None) };
    let info = info.to_string();
    if info.len() > INFO_BYTES_MAX {
        return Err(wrong(format!(
            "the token's claim info is longer than info_bytes_max = {INFO_BYTES_MAX} bytes"
        )));
    }
    Ok(Some(info))
}
