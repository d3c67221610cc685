//! Sentinels, which know where the master of a name is. The crate's own client of them waits for each without end,
//! and goes by the first that answers: one that has not heard of the latest failover would do.

use std::{collections::HashMap, time::Duration};

use redis::{ConnectionInfo, RedisResult, cmd};

use super::way::{self, Named, Way, wrong};

/// How long one of them may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a sentinel says: where the master is, and since which failover.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    host: String,
    port: u16,
    epoch: u64,
}

/// Where the master of this name is, and since which failover, as the one says that knows the latest.
pub fn master(way: &Way, name: &str) -> RedisResult<(ConnectionInfo, u64)> {
    let (mut said, mut failed) = (Vec::new(), Vec::new());
    for info in &way.servers {
        match ask(way, info, name) {
            Ok(it) => said.push(it),
            Err(error) => failed.push(format!("{}: {}", Named(info), way::said(&error))),
        }
    }
    let Some(latest) = latest(&said) else {
        return Err(wrong(format!("no sentinel knows the master {name}: {}", failed.join("; "))));
    };
    way.note(disagreement(name, &said, latest));
    way.server_at(latest.host.clone(), latest.port)
        .map(|info| (info, latest.epoch))
        .ok_or_else(|| wrong("the URL names no server".to_owned()))
}

fn ask(way: &Way, info: &ConnectionInfo, name: &str) -> RedisResult<Said> {
    let mut connection = way.connect_to_sentinel(info, PATIENCE)?;
    let told: RedisResult<HashMap<String, String>> =
        cmd("SENTINEL").arg("MASTER").arg(name).query(&mut connection);
    let told = told.map_err(|error| match error.detail() {
        Some(why) if why.starts_with("unknown command") => {
            wrong("it is no sentinel: for one Redis, write redis://HOST:PORT".to_owned())
        }
        _ => error,
    })?;
    // The one that leads a failover tells of it there before it tells the place, until all replicas know.
    let place: RedisResult<Option<(String, String)>> =
        cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).query(&mut connection);
    read(&told, place?).ok_or_else(|| wrong("it does not say where the master is".to_owned()))
}

fn read(told: &HashMap<String, String>, place: Option<(String, String)>) -> Option<Said> {
    let (host, port) = place?;
    let epoch = told.get("config-epoch")?.parse().ok()?;
    (!host.is_empty()).then_some(Said { host, port: port.parse().ok()?, epoch })
}

/// The latest, and of those that are, what most say.
fn latest(said: &[Said]) -> Option<&Said> {
    said.iter().max_by_key(|it| (it.epoch, said.iter().filter(|other| other == it).count()))
}

/// What to say if not all say the same.
fn disagreement(name: &str, said: &[Said], latest: &Said) -> String {
    let place = |it: &Said| format!("{}:{}", it.host, it.port);
    let (all, right) = (said.len(), said.iter().filter(|it| place(it) == place(latest)).count());
    if right == all {
        return String::new();
    }
    let here = place(latest);
    format!(
        "the broker: sentinels disagree on {name}: {right} of {all} say {here}, which is the latest"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(port: u16, epoch: u64) -> Said {
        Said { host: "h".to_owned(), port, epoch }
    }

    #[test]
    fn of_sentinels_that_disagree_the_latest_failover_decides_and_then_the_number() {
        assert_eq!(latest(&[]), None);
        for (all, expected) in [
            (vec![said(1, 0)], 1),
            (vec![said(1, 3), said(1, 3), said(2, 4)], 2),
            (vec![said(2, 4), said(1, 3), said(1, 3)], 2),
            (vec![said(1, 3), said(2, 3), said(1, 3)], 1),
        ] {
            assert_eq!(latest(&all).map(|it| it.port), Some(expected), "{all:?}");
        }
        let all = [said(1, 3), said(2, 4), said(2, 4)];
        let told = disagreement("m", &all, &all[1]);
        assert!(told.contains("disagree on m: 2 of 3 say h:2"), "{told}");
        assert_eq!(disagreement("m", &all[1..], &all[1]), "");
    }

    #[test]
    fn what_a_sentinel_says_has_a_place_and_a_failover() {
        let map = |words: &str| -> HashMap<String, String> {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
        };
        let read = |words: &str, host: &str, port: &str| {
            read(&map(words), Some((host.to_owned(), port.to_owned())))
        };
        // As one tells that leads a failover.
        let told = "ip old port 6 config-epoch 2 flags master";
        assert_eq!(read(told, "h", "7"), Some(said(7, 2)));
        for (words, host, port) in
            [("ip h port 7", "h", "7"), (told, "h", "70000"), (told, "", "7"), (told, "h", "")]
        {
            assert_eq!(read(words, host, port), None, "{words} {host} {port}");
        }
        assert_eq!(super::read(&map(told), None), None);
    }
}
