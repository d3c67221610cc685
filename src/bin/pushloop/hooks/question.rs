//! The bytes of questions, and what answers say.

use std::{net::IpAddr, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Kind, client::Reply};
use crate::web::{self, Failure};

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;
/// Where a refusal has none.
const REFUSED: &str = "the backend does not allow that";

/// What comes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// And why, in one line.
    Refused(String),
    Failed(Failure),
}

/// What one that is allowed has as its body, if it has one. Other members are for what comes.
#[derive(Deserialize)]
struct Answer {
    allow: bool,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    reason: Option<String>,
}

/// A question. Two that ask for the same are the same bytes.
pub fn question(
    kind: Kind,
    names: &[String],
    client: Option<IpAddr>,
    subject: Option<&str>,
    headers: Map<String, Value>,
) -> Vec<u8> {
    let client = client.map(|client| client.to_string());
    let mut question = json!({ "type": kind.name(), "topics": names, "client": client });
    if let Some(subject) = subject {
        question["sub"] = subject.into();
    }
    if !headers.is_empty() {
        question["headers"] = headers.into();
    }
    question.to_string().into_bytes()
}

/// What an answer says, and for how long it holds for the same question.
pub fn verdict(reply: Result<Reply, Failure>) -> (Verdict, Duration) {
    let Reply { status, is_text, max_age, body } = match reply {
        Ok(reply) => reply,
        Err(failure) => return (Verdict::Failed(failure), Duration::ZERO),
    };
    let verdict = match status {
        204 => Verdict::Allowed,
        200 => said(&body),
        403 => Verdict::Refused(reason(reason_of_refusal(is_text, &body).as_deref())),
        _ => Verdict::Failed(Failure::Status),
    };
    let holds = if verdict == Verdict::Allowed { max_age } else { Duration::ZERO };
    (verdict, holds)
}

/// A body need not be, but one that is cannot be taken for a yes: it may be the page of a login.
fn said(body: &[u8]) -> Verdict {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Verdict::Allowed;
    }
    match object(body) {
        Some(Answer { allow: true, .. }) => Verdict::Allowed,
        Some(Answer { allow: false, reason: why }) => Verdict::Refused(reason(why.as_deref())),
        None => Verdict::Failed(Failure::Answer),
    }
}

fn reason_of_refusal(is_text: bool, body: &[u8]) -> Option<String> {
    if is_text {
        let text = String::from_utf8_lossy(body);
        return text.trim().lines().next().map(str::to_owned);
    }
    object(body.trim_ascii()).and_then(|refusal: Refusal| refusal.reason)
}

/// A list would be taken for an object's members in their order.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    body.starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten()
}

/// One line of a bounded length.
fn reason(text: Option<&str>) -> String {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(REFUSED);
    web::line(text, REASON_CHARS_MAX)
}
