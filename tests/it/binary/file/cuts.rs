//! Cuts at random moments under load: nothing that was answered is lost, no place ever has two contents,
//! and a resume across the cut has all that was missed, once, in order.

use std::{
    collections::HashMap,
    sync::mpsc::{self, Sender},
    thread,
};

use serde_json::{Value, json};

use super::peers::{Publisher, Sub, post, stream, websocket};
use super::{Place, ends, id_of};
use crate::support::campaign::scale;
use crate::support::dice::Dice;
use crate::support::process::connect;

const TOPICS: usize = 3;
const PUBLISHERS: usize = 4;

/// What was published at a place, as somebody was told.
struct Told {
    topic: usize,
    id: String,
    data: String,
    /// A publisher was told that it is published.
    is_answered: bool,
}

/// All that anybody was told of the topics, over all cuts.
#[derive(Default)]
struct Known {
    contents: HashMap<String, (usize, String)>,
    answered: Vec<(usize, String)>,
}

impl Known {
    fn learns(&mut self, told: Told) {
        let Told { topic, id, data, is_answered } = told;
        let content = (topic, data);
        let known = self.contents.entry(id.clone()).or_insert_with(|| content.clone());
        assert_eq!(*known, content, "{id} has two contents");
        if is_answered {
            self.answered.push((topic, id));
        }
    }
}

fn offset(id: &str) -> u64 {
    id.split_once('-').expect("a place").1.parse().expect("a number")
}

/// Publishes one after the other until the server is cut.
fn publishes(address: &str, seed: u64, round: usize, told: &Sender<Told>) {
    let mut dice = Dice::new(seed);
    let Ok(mut publisher) = Publisher::new(address) else { return };
    for nth in 0.. {
        let topic = dice.below(TOPICS);
        let data = format!("{round} {seed} {nth}");
        let is_batch = dice.below(4) == 0;
        let answer = if is_batch {
            let line = |nth| format!("{{\"topic\":\"t{topic}\",\"data\":\"{data} {nth}\"}}\n");
            let lines = (0..5).map(line).collect::<String>();
            publisher.posts("/", "Content-Type: application/x-ndjson\r\n", &lines)
        } else {
            publisher.posts(&format!("/t{topic}"), "", &data)
        };
        let Ok((status, body)) = answer else { return };
        if status != 200 {
            return;
        }
        for (line, body) in body.lines().enumerate() {
            let data = if is_batch { format!("{data} {line}") } else { data.clone() };
            let told = told.send(Told { topic, id: id_of(body), data, is_answered: true });
            if told.is_err() {
                return;
            }
        }
    }
}

/// Reads until the server is cut. Gives the last id.
fn reads(topic: usize, mut sub: Sub, told: &Sender<Told>) -> String {
    let mut last = sub.id.clone();
    while let Ok((id, data)) = sub.reads() {
        assert_eq!(offset(&id), offset(&last) + 1, "nothing is missing, and nothing comes twice");
        last.clone_from(&id);
        let _ = told.send(Told { topic, id, data, is_answered: false });
    }
    last
}

fn subscribes(address: &str, nth: usize, after: Option<&str>) -> Sub {
    let path = format!("/t{}", nth % TOPICS);
    if nth < TOPICS { websocket(address, &path, after) } else { stream(address, &path, after) }
}

/// All that the server has kept is what was told, and nothing of that is missing.
fn checks(address: &str, known: &mut Known, round: usize) {
    for topic in 0..TOPICS {
        let path = format!("/t{topic}");
        let mut all = websocket(address, &format!("{path}?last=1000000"), None);
        let end = format!("{round} end");
        post(address, &path, &end);
        let got = all.reads_to(&end);
        for ((id, _), nth) in got.iter().zip(offset(&all.id) + 1..) {
            assert_eq!(offset(id), nth);
        }
        for (id, data) in &got {
            known.learns(Told { topic, id: id.clone(), data: data.clone(), is_answered: false });
        }
        let ids: HashMap<_, _> = got.into_iter().collect();
        for (_, id) in known.answered.iter().filter(|(of, _)| *of == topic) {
            assert!(ids.contains_key(id), "{id} was answered, and is lost");
        }
    }
}

#[test]
fn nothing_that_was_answered_is_lost_and_no_place_has_two_contents() {
    let place = Place::new("cuts");
    let mut dice = Dice::new(0x00c0_ffee);
    let limits = ["--history", "1000000", "--history-bytes", "100000000"];
    // A campaign takes longer than the default age.
    let options = [&limits[..], &["--history-age", "1000000", "--drain-spread", "0"]].concat();
    let mut known = Known::default();
    let mut lasts: Vec<Option<String>> = vec![None; 2 * TOPICS];
    for round in 0..scale(10, 100) {
        let (server, address) = place.serve(&options);
        checks(&address, &mut known, round);
        let subs: Vec<_> = lasts
            .iter()
            .enumerate()
            .map(|(nth, after)| {
                let sub = subscribes(&address, nth, after.as_deref());
                let resumed = after.as_ref().map_or(Value::Null, |_| json!(true));
                assert_eq!(sub.recovered, resumed, "{round} {nth} {after:?}");
                assert!(after.as_ref().is_none_or(|after| *after == sub.id));
                sub
            })
            .collect();
        let (told, hears) = mpsc::channel();
        let signal = if dice.one_in(3) { "TERM" } else { "KILL" };
        let mut answers_left = dice.below(scale(150, 400));
        lasts = thread::scope(|scope| {
            let readers: Vec<_> = subs
                .into_iter()
                .enumerate()
                .map(|(nth, sub)| {
                    let told = told.clone();
                    scope.spawn(move || reads(nth % TOPICS, sub, &told))
                })
                .collect();
            for nth in 0..PUBLISHERS {
                let (told, address) = (told.clone(), &*address);
                let seed = (round * PUBLISHERS + nth) as u64;
                scope.spawn(move || publishes(address, seed, round, &told));
            }
            // Nobody answers a client's message.
            let mut client = connect(&address, "/t0");
            let _ = client.send(tungstenite::Message::text(format!("{round} client")));
            drop(told);
            while answers_left > 0 {
                let told = hears.recv().expect("the load goes on");
                answers_left -= usize::from(told.is_answered);
                known.learns(told);
            }
            ends(server, signal);
            hears.iter().for_each(|told| known.learns(told));
            readers.into_iter().map(|it| Some(it.join().expect("all is in order"))).collect()
        });
    }
    let (_server, address) = place.serve(&options);
    checks(&address, &mut known, usize::MAX);
    println!("figure answered {} known {}", known.answered.len(), known.contents.len());
}
