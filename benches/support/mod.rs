//! What a benchmark asks of the system.

use std::fs;
use std::io::{ErrorKind, Read};

/// Memory of this process alone, in bytes, as the system sees it.
pub fn private_bytes() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Reads what is there of a stream that is not over; gives how much it was.
pub fn read_all(stream: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut got = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => panic!("the server has closed it"),
            Ok(n) => got += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return got,
            Err(error) => panic!("{error}"),
        }
    }
}
