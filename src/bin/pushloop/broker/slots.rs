//! Slots of a cluster: each key is in one, and each slot has a master.

use redis::Value;

pub const SLOTS: usize = 16384;

/// Consecutive slots, and where their master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u16,
    pub last: u16,
    /// Empty if it is where it was asked.
    pub host: String,
    pub port: u16,
}

/// The slot of a key: of what is between its first braces, if that is something.
pub fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS as u16
}

/// CRC-16/XMODEM, by which a cluster spreads its keys.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// What `CLUSTER SLOTS` says; `None` if it is something else.
pub fn read(told: &Value) -> Option<Vec<Range>> {
    let Value::Array(ranges) = told else { return None };
    ranges.iter().map(range).collect()
}

fn range(told: &Value) -> Option<Range> {
    let Value::Array(parts) = told else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &master[..] else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::Nil => String::new(),
        _ => return None,
    };
    let slot = |it: &i64| u16::try_from(*it).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let (first, last, port) = (slot(first)?, slot(last)?, u16::try_from(*port).ok()?);
    (first <= last).then_some(Range { first, last, host, port })
}

/// `HOST:PORT`, as redirects have it.
pub fn place(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_is_that_which_a_cluster_gives_it() {
        // What CLUSTER KEYSLOT says.
        for (key, slot) in [
            ("123456789", 0x31C3),
            ("", 0),
            ("foo", 12182),
            ("{foo}bar", 12182),
            ("pushloop:topic:{foo}", 12182),
            ("foo{}{bar}", 8363),
            ("a{b", 13340),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }

    #[test]
    fn what_a_cluster_says_of_its_slots_is_read_and_nothing_else() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, host: Value, port| {
            let node = |host| Value::Array(vec![host, Value::Int(port), text("id")]);
            let replica = node(text("other"));
            Value::Array(vec![Value::Int(first), Value::Int(last), node(host), replica])
        };
        let expected =
            |first, last, host: &str| Range { first, last, host: host.to_owned(), port: 7 };
        let all = [range(0, 5, text("h"), 7), range(6, 16383, Value::Nil, 7)];
        let told = read(&Value::Array(all.to_vec()));
        assert_eq!(told, Some(vec![expected(0, 5, "h"), expected(6, 16383, "")]));
        for other in [
            range(0, 16384, text("h"), 7),
            range(5, 4, text("h"), 7),
            range(-1, 4, text("h"), 7),
            range(0, 4, text("h"), 70000),
            range(0, 4, Value::Int(1), 7),
            Value::Int(1),
        ] {
            assert_eq!(read(&Value::Array(vec![other.clone()])), None, "{other:?}");
        }
        assert_eq!(place("::1:7"), Some(("::1", 7)));
        assert_eq!((place("h:x"), place("h")), (None, None));
    }
}
