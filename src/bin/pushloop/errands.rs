//! What one loop has for the others, where each is a node of its own: a backend speaks of connections, and a client posts
//! commands for one, whichever loop they are of.
//!
//! What is asked to know goes from loop to loop, each of which adds what it has. What is to be done goes to all at once,
//! and is answered before it is done everywhere.

use std::{collections::HashSet, sync::Arc};

use pushloop::{Handle, Pending, Request, Response};
use serde_json::Value;

use crate::{
    broker::draw_node,
    inboxes::{Inboxes, Limits},
};

/// What the service is notified of, when other loops have something for this one.
pub const ERRANDS: u32 = 9;

/// Requests that are under way between loops, and their bytes: more are refused.
const LIMITS: Limits = Limits { count_max: 1024, bytes_max: 16 << 20 };
/// What a request counts as beside its body, in bytes.
const REQUEST_BYTES: usize = 1024;
/// Bytes of what all loops together tell.
const SUM_BYTES_MAX: usize = 1 << 20;

/// What there is no room for.
pub const FULL: &str =
    "too many requests wait for other loops: loop_requests_max = 1024, or 16 MiB of them";

/// What one loop has for another.
pub enum Errand {
    /// What a request of a backend's does to connections is to be done here as well. Another loop has checked it.
    Do(Arc<Request>),
    /// What is told so far is to be added to.
    Sum(Asked, Value),
    /// A client's commands are for a connection that may be here.
    Post(Asked),
}

/// A request that waits at another loop, and how many loops it has not been at.
pub struct Asked {
    pub pending: Pending,
    left: usize,
}

/// See the module. What one loop has of it.
pub struct Errands {
    here: usize,
    process: u64,
    inboxes: Arc<Inboxes<Errand>>,
}

fn bytes(request: &Request) -> usize {
    request.body().len() + REQUEST_BYTES
}

impl Errands {
    /// One for each of these loops.
    pub fn all(handles: Vec<Handle>) -> impl Iterator<Item = Self> {
        let (count, process) = (handles.len(), draw_node());
        let inboxes = Arc::new(Inboxes::new(handles, ERRANDS, LIMITS));
        (0..count).map(move |here| Self { here, process, inboxes: Arc::clone(&inboxes) })
    }

    /// Which process this is: no two are the same.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Has all others do what a request does. False if there is no room, and then none does.
    pub fn do_elsewhere(&self, request: &Request) -> bool {
        let others = self.inboxes.len() - 1;
        if !self.inboxes.reserve(others, others * bytes(request)) {
            return false;
        }
        let request = Arc::new(request.clone());
        let others = (0..=others).filter(|nth| *nth != self.here);
        others.for_each(|nth| self.send(nth, Errand::Do(Arc::clone(&request))));
        true
    }

    /// Has the others be asked one after another. Without room, the request is refused.
    pub fn begin(&self, mut pending: Pending, begun: impl FnOnce(Asked) -> Errand) {
        if !self.inboxes.reserve(1, bytes(pending.request())) {
            // One that is over needs no answer.
            let _ = pending.refuse(503, FULL);
            return;
        }
        let left = self.inboxes.len() - 1;
        self.send_on(begun(Asked { pending, left }));
    }

    /// Hands it to the next loop.
    pub fn send_on(&self, errand: Errand) {
        self.send((self.here + 1) % self.inboxes.len(), errand);
    }

    /// Where the loop has ended, the process is about to: what waits is answered with 503.
    fn send(&self, to: usize, errand: Errand) {
        for left in self.inboxes.send(to, errand) {
            match left {
                Errand::Do(request) => self.release(&request),
                Errand::Sum(asked, _) | Errand::Post(asked) => drop(self.end(asked)),
            }
        }
    }

    /// It has been at this loop: it is for the next one, or was at all.
    pub fn advance(&self, asked: Asked) -> Result<Asked, Pending> {
        let left = asked.left - 1;
        if left == 0 { Err(self.end(asked)) } else { Ok(Asked { left, ..asked }) }
    }

    /// What has been at as many loops as it had to be.
    pub fn end(&self, asked: Asked) -> Pending {
        self.release(asked.pending.request());
        asked.pending
    }

    /// What was to be done for a request is done here.
    pub fn release(&self, request: &Request) {
        self.inboxes.release(1, bytes(request));
    }

    /// What others have for this loop.
    pub fn next(&self) -> Vec<Errand> {
        self.inboxes.take(self.here)
    }
}

/// Answers with what all loops have told together.
pub fn tell(mut pending: Pending, sum: &Value) {
    let (status, kind, body) = match body(sum) {
        Ok(body) => (200, "application/json", body),
        Err(why) => (400, "text/plain; charset=utf-8", why),
    };
    let response = Response::new(status).body(body).header("Content-Type", kind);
    // One that is over needs no answer.
    let _ = pending.respond(response.header("X-Content-Type-Options", "nosniff"));
}

fn body(sum: &Value) -> Result<String, String> {
    let body = sum.to_string();
    match body.len() <= SUM_BYTES_MAX {
        true => Ok(body),
        false => Err(format!(
            "the answer of all loops exceeds loops_answer_bytes_max = {SUM_BYTES_MAX}: ask for less at once"
        )),
    }
}

/// Adds what one more loop tells: numbers of connections and of subscriptions are summed up, what is the same at all loops
/// is there once, and an error is the answer.
pub fn add(sum: &mut Value, more: Value) {
    if !is_error(sum, &more) {
        add_fields(sum, more, add_field);
    }
}

/// Whether one of them is an error. Then that is told.
fn is_error(sum: &mut Value, more: &Value) -> bool {
    let is_told = sum.get("error").is_some();
    if !is_told && more.get("error").is_some() {
        sum.clone_from(more);
    }
    is_told || more.get("error").is_some()
}

/// Adds up what has the same name in two objects.
fn add_fields(sum: &mut Value, more: Value, add: impl Fn(&str, &mut Value, Value)) {
    let (Value::Object(sum), Value::Object(more)) = (sum, more) else { return };
    for (name, more) in more {
        match sum.get_mut(&name) {
            None => drop(sum.insert(name, more)),
            Some(sum) => add(&name, sum, more),
        }
    }
}

/// Adds up a field of an answer. Names of channels are not looked at, nor what clients publish: these may be anything.
fn add_field(name: &str, sum: &mut Value, more: Value) {
    match (name, sum, more) {
        ("result", sum, more) => add(sum, more),
        ("replies", Value::Array(sum), Value::Array(more)) => {
            sum.iter_mut().zip(more).for_each(|(sum, more)| add_reply(sum, more));
        }
        ("nodes", Value::Array(sum), Value::Array(more)) => {
            sum.iter_mut().zip(more).for_each(|(sum, more)| add_fields(sum, more, add_figure));
        }
        ("channels", sum, more) => {
            add_fields(sum, more, |_, sum, more| add_fields(sum, more, add_figure));
        }
        ("users", Value::Array(sum), Value::Array(more)) => {
            let known: HashSet<_> = sum.iter().collect();
            let news: Vec<_> = more.into_iter().filter(|it| !known.contains(it)).collect();
            sum.extend(news);
        }
        ("cache", sum, more) if sum.is_null() => *sum = more,
        ("cache", _, _) => {}
        (name, sum, more) => add_figure(name, sum, more),
    }
}

/// One of a batch is under the name of its method.
fn add_reply(sum: &mut Value, more: Value) {
    if !is_error(sum, &more) {
        add_fields(sum, more, |_, sum, more| add(sum, more));
    }
}

fn add_figure(name: &str, sum: &mut Value, more: Value) {
    match (name, sum, more) {
        // Members are those of all nodes at each.
        ("user_count" | "uptime", sum, more) if sum.as_u64() < more.as_u64() => *sum = more,
        ("user_count" | "uptime", _, _) => {}
        (_, Value::Number(sum), Value::Number(more)) => {
            let both = sum.as_u64().unwrap_or_default() + more.as_u64().unwrap_or_default();
            *sum = both.into();
        }
        (_, Value::Bool(sum), Value::Bool(more)) => *sum |= more,
        (_, _, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use pushloop::{Config, Loops, Server};
    use serde_json::json;

    use super::*;

    fn sum(all: impl IntoIterator<Item = Value>) -> Value {
        all.into_iter()
            .reduce(|mut sum, more| {
                add(&mut sum, more);
                sum
            })
            .expect("there is one")
    }

    #[test]
    fn what_connections_are_counted_by_is_summed_up_and_what_all_know_is_there_once() {
        let channel = |users: u64, subscriptions: u64| json!({ "user_count": users, "subscription_count": subscriptions });
        let channels = [
            json!({ "channels": { "a": channel(2, 1), "b": channel(1, 1) } }),
            json!({ "channels": { "a": channel(2, 5), "c": {} } }),
        ];
        let expected = json!({ "a": channel(2, 6), "b": channel(1, 1), "c": {} });
        assert_eq!(sum(channels), json!({ "channels": expected }));
        let one =
            |is_occupied: bool, cache: Value| json!({ "occupied": is_occupied, "cache": cache });
        let data = json!({ "data": "x" });
        let told = [one(false, Value::Null), one(true, data.clone()), one(false, Value::Null)];
        assert_eq!(sum(told), one(true, data));
        let users = |ids: &[u64]| {
            let ids: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
            json!({ "users": ids })
        };
        assert_eq!(sum([users(&[1, 2]), users(&[2, 3])]), users(&[1, 2, 3]));
        let node = |clients: u64, uptime: u64| json!({ "name": "pushloop", "num_clients": clients, "uptime": uptime });
        let info = |node: Value| json!({ "replies": [{ "info": { "nodes": [node] } }] });
        assert_eq!(sum([info(node(1, 9)), info(node(2, 8))]), info(node(3, 9)));
    }

    #[test]
    fn what_clients_name_and_publish_is_told_as_it_is() {
        let names = ["error", "channels", "cache", "users", "user_count", "uptime", "result"];
        let map = |count: u64| {
            let counts = names.map(|it| (it.to_owned(), json!({ "num_clients": count })));
            Value::Object(counts.into_iter().collect())
        };
        let of_app = |map: Value| json!({ "channels": map });
        assert_eq!(sum([of_app(map(1)), of_app(map(2))]), of_app(map(3)));
        let one = |map: Value| json!({ "result": { "channels": map } });
        assert_eq!(sum([one(map(1)), one(map(2))]), one(map(3)));
        let batch = |map: Value| json!({ "replies": [{ "channels": { "channels": map } }] });
        assert_eq!(sum([batch(map(1)), batch(map(2))]), batch(map(3)));
        let data = json!({ "cache": { "data": { "score": 3, "is_new": false, "users": [1] } } });
        assert_eq!(sum([data.clone(), data.clone()]), data);
    }

    /// All members of a channel, as each of eight loops tells them. With each compared with each, it takes minutes.
    // The clock is of the test alone.
    #[test]
    #[allow(clippy::disallowed_methods)]
    fn members_that_all_loops_know_are_not_compared_with_each_other() {
        let begun = Instant::now();
        let users: Vec<_> = (0..10_000).map(|nth| json!({ "id": format!("user-{nth}") })).collect();
        let users = json!({ "users": users });
        assert_eq!(sum((0..8).map(|_| users.clone())), users);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn so_many_requests_are_under_way_and_no_more() {
        let mut loops = Loops::apart(Config::default(), 2).expect("there are descriptors");
        let each = loops.servers().iter().map(Server::handle).collect();
        let inboxes = Errands::all(each).next().expect("there are two").inboxes;
        assert!(inboxes.reserve(1024, 16 << 20), "at the limits");
        assert!(!inboxes.reserve(1, 0) && !inboxes.reserve(0, 1), "one more");
        assert!(FULL.contains("loop_requests_max = 1024"));
    }

    #[test]
    fn so_much_is_told_of_all_loops_and_no_more() {
        let text = |bytes: usize| Value::from("x".repeat(bytes - 2));
        assert_eq!(body(&text(SUM_BYTES_MAX)).map(|it| it.len()), Ok(SUM_BYTES_MAX));
        let why = body(&text(SUM_BYTES_MAX + 1)).expect_err("one more");
        assert!(why.contains("loops_answer_bytes_max = 1048576"), "{why}");
    }

    #[test]
    fn an_error_of_one_loop_is_the_answer() {
        let error = json!({ "error": { "code": 106 } });
        let told = json!({ "result": { "channels": {} } });
        assert_eq!(sum([told.clone(), error.clone()]), error);
        assert_eq!(sum([error.clone(), told]), error);
        assert_eq!(sum([error.clone(), error.clone()]), error);
        let batch = |first: &Value| json!({ "replies": [first, { "info": { "nodes": [] } }] });
        let channels = json!({ "channels": { "channels": {} } });
        assert_eq!(sum([batch(&channels), batch(&error)]), batch(&error));
    }
}
