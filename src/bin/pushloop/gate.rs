//! The gate of the server: with what token or key a request comes, and what is told of one that may not.

mod fetched;
mod files;

use std::{
    borrow::Cow,
    collections::HashSet,
    mem,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, UNIX_EPOCH},
};

use pushloop::{Hub, Origins, Request};

use crate::{
    auth::{
        Action, Cache, Cause, Claims, Denied, Invalid, Policy, Principal, PublishKey, Verifier,
    },
    key_sets::KeySet,
    pace::Pace,
    patterns::Patterns,
    pusher::App,
    requests::network,
    status::Status,
    topics::Refusal,
};

pub use files::{KeyFile, TokenOptions, read};

/// The subprotocol in front of a token in `Sec-WebSocket-Protocol`: a page can set no other field.
pub const BEARER: &str = "bearer";

/// False signatures that are looked at of one client in a second. Then its tokens wait, but for those that were good a
/// moment ago.
const FALSE_SIGNATURES_PER_SECOND: u32 = 10;

const CHALLENGE: &str = "WWW-Authenticate";

/// Who gets in.
#[derive(Debug)]
pub struct Gate {
    keys: Keys,
    /// The name of the cookie that a token may come in.
    cookie: Option<String>,
    cache: Cache,
    /// Whose tokens had signatures that are false: to look at one costs more than to send it.
    wrong: Pace<IpAddr>,
    /// Where it is counted what was refused.
    status: Arc<Status>,
    /// There are applications, which stay until a restart.
    has_apps: bool,
}

/// A request that may not: its answer. Neither has anything of a token.
#[derive(Debug, PartialEq, Eq)]
pub struct TurnedAway {
    pub status: u16,
    pub why: Cow<'static, str>,
    /// A field that the answer has besides.
    pub field: Option<(&'static str, Cow<'static, str>)>,
    /// It is the last of its connection.
    pub is_last: bool,
}

impl TurnedAway {
    /// The same, about one of several topics.
    pub fn about(self, name: &str) -> Self {
        Self { why: format!("{}: {name}", self.why).into(), ..self }
    }
}

const TOO_MANY_FALSE: &str = "too many tokens came from there that nobody here has signed: \
     false_signatures_per_second = 10";

/// The answer to one that may do it later.
pub fn slow_down(why: &'static str, wait: Duration) -> TurnedAway {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let field = Some(("Retry-After", seconds.to_string().into()));
    TurnedAway { status: 429, why: why.into(), field, is_last: false }
}

impl From<Refusal> for TurnedAway {
    fn from((status, why): Refusal) -> Self {
        // RFC 9110 §15.5.2: a 401 MUST have one.
        let field = (status == 401).then_some((CHALLENGE, "Bearer".into()));
        Self { status, why, field, is_last: false }
    }
}

impl From<TurnedAway> for Refusal {
    fn from(it: TurnedAway) -> Self {
        (it.status, it.why)
    }
}

/// How a token comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Authorization,
    Query,
    Cookie,
    Subprotocol,
}

/// What the options and their files say of who may do what.
#[derive(Clone, Debug)]
pub struct Keys {
    policy: Policy,
    verifier: Verifier,
    publish_key: Option<PublishKey>,
    /// That of the API of Centrifuge's server SDKs.
    api_key: Option<PublishKey>,
    /// Subjects of which no token is taken.
    revoked: HashSet<Box<str>>,
    /// Sets that are fetched, which `verifier.fetched` has in the same order.
    sets: Vec<KeySet>,
    /// Applications of Pusher's.
    apps: Vec<Arc<App>>,
}

impl Keys {
    /// The same, where anyone may publish to topics of which these say so.
    pub fn open_to(mut self, patterns: &Patterns) -> Self {
        self.policy.anyone_may_publish = patterns.anyone_may_publish().collect();
        self
    }
}

impl Keys {
    pub fn are_given(&self) -> bool {
        self.policy.is_guarded
    }
}

impl Gate {
    /// Refusals are counted in `status`.
    pub fn new(keys: Keys, cookie: Option<String>, status: Arc<Status>) -> Self {
        let (cache, wrong) = (Cache::default(), Pace::new(FALSE_SIGNATURES_PER_SECOND));
        let has_apps = !keys.apps.is_empty();
        let mut gate = Self { keys, cookie, cache, wrong, status, has_apps };
        gate.take_fetched();
        gate
    }

    /// Goes by these keys from now on. What those of before have let in stays until its token ends.
    pub fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
        // What is signed for is not open to all meanwhile.
        self.keys.policy.is_guarded |= self.has_apps;
        self.cache = Cache::default();
        self.take_fetched();
    }

    /// The applications, until they are taken.
    pub fn apps(&self) -> &[Arc<App>] {
        &self.keys.apps
    }

    /// The applications that there were at the start.
    pub fn take_apps(&mut self) -> Vec<Arc<App>> {
        mem::take(&mut self.keys.apps)
    }

    /// Whether there are keys.
    pub fn is_guarded(&self) -> bool {
        self.keys.are_given()
    }

    /// Who asks, if all these topics may be read or published to: all, or none of them.
    pub fn admit(
        &mut self,
        hub: &Hub,
        request: &Request,
        action: Action,
        names: &[String],
    ) -> Result<Principal, TurnedAway> {
        let who = self.principal(hub, request)?;
        for name in names {
            self.allow(&who, action, name).map_err(|away| away.about(name))?;
        }
        Ok(who)
    }

    /// Who asks, if that is somebody who may publish to some topic: to which is not known yet.
    pub fn admit_publisher(
        &mut self,
        hub: &Hub,
        request: &Request,
    ) -> Result<Principal, TurnedAway> {
        let who = self.principal(hub, request)?;
        if matches!(who, Principal::Anyone) && !self.keys.policy.has_open_topics() {
            self.allow(&who, Action::Publish, "")?;
        }
        Ok(who)
    }

    /// Whether somebody may do this. What may not be is counted.
    pub fn allow(&mut self, who: &Principal, action: Action, name: &str) -> Result<(), TurnedAway> {
        self.keys.policy.may(who, action, name).map_err(|denied| self.turn_away(denied))
    }

    /// Whether somebody may do this, when it is not asked for yet.
    pub fn may(&self, who: &Principal, action: Action, name: &str) -> Result<(), Denied> {
        self.keys.policy.may(who, action, name)
    }

    /// Counts what was denied, and gives the answer.
    pub fn turn_away(&mut self, denied: Denied) -> TurnedAway {
        let (status, why) = (denied.status(), denied.why());
        let field = match denied {
            // RFC 6750 §3.1: where nothing came, no error is named.
            Denied::NoToken(_) => Some((CHALLENGE, "Bearer".into())),
            Denied::NotGranted(_) => Some(challenge("insufficient_scope", why)),
            Denied::ReadOnly
            | Denied::KeyPublishesOnly
            | Denied::NobodyKnown
            | Denied::NotSigned => None,
        };
        let count = match denied {
            Denied::NoToken(_) => &self.status.tokens_missing,
            Denied::NotGranted(_)
            | Denied::ReadOnly
            | Denied::KeyPublishesOnly
            | Denied::NobodyKnown
            | Denied::NotSigned => &self.status.tokens_insufficient,
        };
        count.fetch_add(1, Ordering::Relaxed);
        TurnedAway { status, why: why.into(), field, is_last: false }
    }

    /// Whether somebody may do something without a token.
    pub fn lets_anyone_in(&self) -> bool {
        self.keys.policy.anyone_may_subscribe || self.keys.policy.has_open_topics()
    }

    /// Whether there is a key of the API, and whether it is this one.
    pub fn has_api_key(&self) -> bool {
        self.keys.api_key.is_some()
    }

    pub fn is_api_key(&self, key: &str) -> bool {
        self.keys.api_key.as_ref().is_some_and(|it| it.is(key))
    }

    /// What a token says that came otherwise than with a request, from there. Or why it is refused, which is counted:
    /// no cause is known if it cannot be said yet.
    pub fn claims(
        &mut self,
        hub: &Hub,
        token: &str,
        sender: Option<IpAddr>,
    ) -> Result<Arc<Claims>, Option<Cause>> {
        let now = since_1970(hub).ok_or(None)?;
        self.verified(hub, token, sender, now).map_err(|(invalid, waits)| {
            let cause = invalid.cause;
            let away = self.refuse(invalid, token, waits);
            (away.status != 503).then_some(cause)
        })
    }

    /// Who asks.
    pub fn principal(&mut self, hub: &Hub, request: &Request) -> Result<Principal, TurnedAway> {
        if !self.keys.policy.is_guarded {
            return Ok(Principal::Anyone);
        }
        let Some((way, token)) = self.credential(hub, request)? else {
            return Ok(Principal::Anyone);
        };
        // It is for backends, which can set a field. A URL or a cookie is no place for it.
        let is_publish_key = |key: &PublishKey| way == Way::Authorization && key.is(&token);
        if self.keys.publish_key.as_ref().is_some_and(is_publish_key) {
            return Ok(Principal::PublishKey);
        }
        let Some(now) = since_1970(hub) else {
            return Err((503, "the server does not know the time".into()).into());
        };
        let verified = self.verified(hub, &token, network(request), now);
        verified
            .map(Principal::Token)
            .map_err(|(invalid, waits)| self.refuse(invalid, &token, waits))
    }

    /// What a token says; or why it is not taken, and how long its sender has to wait if it was not looked at.
    fn verified(
        &mut self,
        hub: &Hub,
        token: &str,
        sender: Option<IpAddr>,
        now: Duration,
    ) -> Result<Arc<Claims>, (Invalid, Duration)> {
        let waits = sender.and_then(|sender| self.wrong.waits(&sender, hub.now()));
        let verify = || match waits {
            Some(_) => Err(Invalid::new(Cause::TooMany, TOO_MANY_FALSE)),
            None => self.keys.verifier.verify(token, now),
        };
        let invalid = match self.cache.get_or(token, now, verify) {
            Ok(claims) if self.is_revoked(claims.subject.as_deref().unwrap_or_default()) => {
                Invalid::new(Cause::Revoked, "the token's subject (sub) is revoked here")
            }
            Ok(claims) => return Ok(claims),
            Err(invalid) => invalid,
        };
        if invalid.cause == Cause::Unsigned
            && let Some(sender) = sender
        {
            let _ = self.wrong.take(&sender, 1, hub.now());
        }
        Err((invalid, waits.unwrap_or_default()))
    }

    /// Whether the tokens of this subject are not taken.
    pub fn is_revoked(&self, subject: &str) -> bool {
        self.keys.revoked.contains(subject)
    }

    fn refuse(&mut self, invalid: Invalid, token: &str, waits: Duration) -> TurnedAway {
        if invalid.cause == Cause::UnknownKey
            && let Some(away) = self.want_key(token)
        {
            return away;
        }
        let count = match invalid.cause {
            Cause::Malformed => &self.status.tokens_malformed,
            Cause::Unsigned | Cause::UnknownKey => &self.status.tokens_unsigned,
            Cause::Claims => &self.status.tokens_unacceptable,
            Cause::Expired => &self.status.tokens_expired,
            Cause::Revoked => &self.status.tokens_revoked,
            Cause::TooMany => &self.status.tokens_limited,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if invalid.cause == Cause::TooMany {
            return TurnedAway { is_last: true, ..slow_down(TOO_MANY_FALSE, waits) };
        }
        let why = match &self.keys.publish_key {
            Some(_) if !token.contains('.') => "it is neither a token nor the publish key".into(),
            Some(_) | None => invalid.why,
        };
        let field = Some(challenge("invalid_token", &why));
        // To look at a signature costs more than to answer: the next one costs its sender a connection, of
        // which it may have so many (`--client-connections-per-second`).
        TurnedAway { status: 401, why, field, is_last: true }
    }

    /// The token or key that a request has, and how it came. More than one is a mistake of somebody's, and
    /// which of them counts would be a guess.
    fn credential<'a>(
        &self,
        hub: &Hub,
        request: &'a Request,
    ) -> Result<Option<(Way, Cow<'a, str>)>, TurnedAway> {
        let mut found = Vec::new();
        for value in request.header_all("authorization") {
            let value = str::from_utf8(value).unwrap_or_default();
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            // Another scheme is for what is in front of this server.
            if scheme.eq_ignore_ascii_case("bearer") {
                found.push((Way::Authorization, Cow::Borrowed(token.trim_matches(' '))));
            }
        }
        let queried = request.query_pairs().filter(|(name, _)| name == "token");
        found.extend(queried.map(|(_, value)| (Way::Query, value)));
        if let Some(name) = &self.cookie {
            let cookies = request.cookies().filter(|(other, _)| other == name);
            found.extend(cookies.map(|(_, value)| (Way::Cookie, Cow::Borrowed(value))));
        }
        if request.is_websocket() {
            let mut offers = request.subprotocols();
            if offers.any(|offer| offer == BEARER) {
                let token = offers.next().unwrap_or_default();
                found.push((Way::Subprotocol, Cow::Borrowed(token)));
            }
        }
        let Some(first) = found.pop() else { return Ok(None) };
        if !found.is_empty() {
            let why = "more than one token came: it is for Authorization, or the query (token=), or a cookie, \
                       or Sec-WebSocket-Protocol";
            return Err((400, why.into()).into());
        }
        if first.0 == Way::Cookie {
            self.check_page(hub, request)?;
        }
        Ok(Some(first))
    }

    /// A browser adds a cookie to what any page sends. So it counts for pages of this origin and of those
    /// that are listed, and where there is no page.
    fn check_page(&self, hub: &Hub, request: &Request) -> Result<(), TurnedAway> {
        if let Some(why) = hub.origin_refusal(request) {
            return Err((403, why.into()).into());
        }
        let origin = request.header_text("origin").unwrap_or_default();
        // The same host over http and https is two origins, and of what comes by http anybody on the way may
        // be the author (RFC 6454 §5). Which of them this server is, the browser knows.
        let bare = origin.split_once("://").map_or("", |(_, host)| host);
        let is_own_host = origin.is_empty() || bare.eq_ignore_ascii_case(request.host());
        let is_listed = matches!(
            &hub.config().origins,
            Origins::List(list) if list.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
        );
        let mut sites = request.header_all("sec-fetch-site");
        let is_elsewhere = sites.any(|site| !matches!(site, b"same-origin" | b"none"));
        if is_own_host && is_elsewhere && !is_listed {
            let why = "a cookie with a token counts for pages of the same origin and of those that are listed \
                       (--allow-origin)";
            return Err((403, why.into()).into());
        }
        Ok(())
    }

    /// What was refused and fetched, as members of JSON; nothing if there are no keys.
    pub fn stats(&self, hub: &Hub) -> String {
        if !self.keys.policy.is_guarded {
            return String::new();
        }
        let is_told = |name: &str| {
            name.starts_with("tokens_") || (name.starts_with("jwks_") && !self.keys.sets.is_empty())
        };
        let told = self.status.metrics().filter(|(name, ..)| is_told(name));
        let told = told.map(|(name, _, _, count)| format!(",\"{name}\":{count}"));
        told.chain(self.age_of_fetched(hub)).collect()
    }
}

/// RFC 6750 §3.
fn challenge(error: &str, why: &str) -> (&'static str, Cow<'static, str>) {
    let value = format!("Bearer error=\"{error}\", error_description=\"{why}\"");
    (CHALLENGE, value.into())
}

/// The time of day, as tokens have it.
pub fn since_1970(hub: &Hub) -> Option<Duration> {
    hub.wall_clock()?.duration_since(UNIX_EPOCH).ok()
}
