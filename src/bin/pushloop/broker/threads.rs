//! The broker's threads: one asks, one listens. Each has a connection of its own, and makes a new one when it
//! is lost. Where there are sentinels, a third one looks at them.

use std::{sync::Arc, thread, time::Duration};

use redis::{Connection, PubSub, RedisResult};

use super::{
    BrokerOptions, ECHO_TIMEOUT,
    echoes::Echoes,
    keys,
    link::{Failure, Publication, draw},
    links::Links,
    record::decode_news,
    shared::{Batch, Change, Event, Shared},
    way::{self, Kind, Way, wrong},
};
use crate::{
    logs::{Level, say},
    status::{Status, count},
};

/// How long a thread waits before it tries again to connect, at first and at the most; half of it at random.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How often sentinels are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Topics of which the place is asked in one go.
const ASKED_MAX: usize = 64;

/// What both threads know.
struct Node {
    shared: Arc<Shared>,
    status: Arc<Status>,
    way: Arc<Way>,
    options: BrokerOptions,
    /// The channel on which it hears of itself.
    channel: String,
}

/// Starts the threads. They end with `Shared::end`, and nobody waits for that.
pub fn start(
    way: Way,
    options: &BrokerOptions,
    node: u64,
    shared: &Arc<Shared>,
    status: &Arc<Status>,
) -> std::io::Result<()> {
    let channel = keys::node(&options.prefix, node);
    let (shared, status, way) = (Arc::clone(shared), Arc::clone(status), Arc::new(way));
    let node = Arc::new(Node { shared, status, way, options: options.clone(), channel });
    for (name, run) in [("asks", asks as fn(&Node)), ("listens", listens), ("watches", watches)] {
        let node = Arc::clone(&node);
        thread::Builder::new().name(format!("broker-{name}")).spawn(move || run(&node))?;
    }
    Ok(())
}

/// Runs `life` again and again, each time with a new connection. It tells once that is of use.
fn again_and_again(
    node: &Node,
    what: &str,
    mut life: impl FnMut(&Node, &mut bool) -> RedisResult<()>,
) {
    let mut backoff = BACKOFF_MIN;
    let mut said = String::new();
    while !node.shared.ends() {
        let mut was_of_use = false;
        let Err(error) = life(node, &mut was_of_use) else { return };
        count(&node.status.broker_connections_lost);
        if was_of_use {
            (backoff, said) = (BACKOFF_MIN, String::new());
        }
        // The same again and again would fill the log.
        let why = way::said(&error);
        if why != said {
            say(Level::Warn, &format!("the broker: {what}: {why}"));
            said = why;
        }
        let jitter = backoff / 1024 * (draw() % 512) as u32;
        node.shared.pause(backoff / 2 + jitter);
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn asks(node: &Node) {
    let mut warned = false;
    again_and_again(node, "cannot ask", |node, was_of_use| {
        let BrokerOptions { prefix, is_durable, .. } = &node.options;
        let mut links = Links::connect(&node.way, draw() as usize, prefix, *is_durable)?;
        if let Some(policy) = links.eviction()
            && !std::mem::replace(&mut warned, true)
        {
            let told = format!(
                "the broker forgets topics when it is full: maxmemory-policy is {policy}, not noeviction"
            );
            say(Level::Warn, &told);
        }
        node.shared.set_connected(true);
        let ended = ask(node, &mut links, was_of_use);
        node.shared.set_connected(false);
        ended
    });
}

/// Asks until the connection is lost. What was asked and not answered is told to be unknown. The first echo is asked for
/// at once; a connection that outlives it until the next one was of use.
fn ask(node: &Node, links: &mut Links, was_of_use: &mut bool) -> RedisResult<()> {
    let mut has_echoed = false;
    while let Some(batch) = node.shared.next_batch() {
        let Batch { publications, asked, portion, leases, echoes } = batch;
        if echoes {
            let told = links.echo(&node.channel);
            told.inspect_err(|_| fail(node, &publications, &Failure::Unreachable))?;
            (*was_of_use, has_echoed) = (has_echoed, true);
        }
        if !publications.is_empty() {
            let outcomes = links.publish(&publications);
            for (it, outcome) in publications.iter().zip(outcomes) {
                node.shared.tell(Event::Published { number: it.number, outcome });
            }
            links.check()?;
        }
        for some in asked.chunks(ASKED_MAX) {
            let wanted: Vec<_> = some.iter().map(|(topic, wanted)| (&**topic, *wanted)).collect();
            let places = links.open(&wanted);
            links.check()?;
            for ((topic, wanted), place) in some.iter().zip(places) {
                let (topic, wanted) = (Arc::clone(topic), *wanted);
                node.shared.tell(Event::Opened { topic, wanted, place });
            }
        }
        if let Some((topic, asked)) = portion {
            let portion = links.list(&topic, asked.cursor);
            links.check()?;
            node.shared.tell(Event::Listed { topic, asked, portion });
        }
        if !leases.is_empty() {
            let answers = links.lease(&leases);
            links.check()?;
            leases.into_iter().zip(answers).for_each(|leased| node.shared.answer(leased));
        }
    }
    Ok(())
}

fn fail(node: &Node, publications: &[Publication], why: &Failure) {
    for it in publications {
        let outcome = Err(why.clone());
        node.shared.tell(Event::Published { number: it.number, outcome });
    }
}

fn listens(node: &Node) {
    again_and_again(node, "cannot listen", |node, was_of_use| {
        let (mut connection, failover) = node.way.connect_to_listen(draw() as usize)?;
        connection.set_read_timeout(Some(ECHO_TIMEOUT))?;
        let ended = listen(node, (&mut connection, failover), was_of_use);
        node.shared.tell(Event::Deaf);
        ended
    });
}

/// Listens until nothing is heard for too long, not even an echo.
fn listen(
    node: &Node,
    (connection, failover): (&mut Connection, u64),
    was_of_use: &mut bool,
) -> RedisResult<()> {
    let mut hears = connection.as_pubsub();
    let mut echoes = Echoes::default();
    hears.subscribe(&node.channel)?;
    for (channel, topic) in node.shared.begin_listening() {
        subscribe(node, &mut hears, &channel, topic)?;
    }
    while !node.shared.ends() {
        let message = hears.get_message()?;
        let channel = message.get_channel_name();
        if channel == node.channel {
            node.shared.tell(Event::Echo);
            node.way.check_master(failover)?;
            if !echoes.hear(message.get_payload_bytes()) {
                return Err(wrong("one of the masters is not heard there".to_owned()));
            }
            *was_of_use = true;
            for change in node.shared.take_changes() {
                follow(node, &mut hears, change)?;
            }
        } else if let Some(topic) = node.shared.topic_of(channel) {
            match decode_news(message.get_payload_bytes()) {
                Some((position, record)) => {
                    node.shared.tell(Event::News { topic, position, record });
                }
                None => count(&node.status.broker_foreign_messages),
            }
        }
    }
    Ok(())
}

/// Looks at sentinels from time to time. It ends at once where there are none.
fn watches(node: &Node) {
    let Kind::Sentinels(master) = &node.way.kind else { return };
    while !node.shared.ends() {
        node.shared.pause(WATCH_INTERVAL);
        node.way.look(master);
    }
}

fn follow(node: &Node, hears: &mut PubSub<'_>, change: Change) -> RedisResult<()> {
    match change {
        Change::Subscribe(topic) => {
            let channel = keys::channel(&node.options.prefix, &topic);
            subscribe(node, hears, &channel, topic)
        }
        Change::Unsubscribe(topic) => {
            hears.unsubscribe(keys::channel(&node.options.prefix, &topic))
        }
    }
}

fn subscribe(
    node: &Node,
    hears: &mut PubSub<'_>,
    channel: &str,
    topic: Arc<str>,
) -> RedisResult<()> {
    hears.subscribe(channel)?;
    node.shared.tell(Event::Subscribed(topic));
    Ok(())
}
