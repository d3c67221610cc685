//! What is measured.

use crate::numbers;

/// What the load client does in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub mode: &'static str,
    pub path: &'static str,
    pub payload: usize,
    pub connections: usize,
    pub in_flight: usize,
    pub all_publish: bool,
    pub deflate: bool,
}

const fn echo(payload: usize, connections: usize, in_flight: usize) -> Shape {
    Shape {
        mode: "echo",
        path: "/echo",
        payload,
        connections,
        in_flight,
        all_publish: false,
        deflate: false,
    }
}

const fn fan(payload: usize, in_flight: usize) -> Shape {
    Shape { mode: "fan", path: "/fan", ..echo(payload, 1_000, in_flight) }
}

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// As fast as it goes.
    Rate(Shape),
    /// On a schedule, at a part of the rate that the server reached as fast as it went.
    Paced(Shape),
    Connect,
    Idle {
        path: &'static str,
        deflate: bool,
    },
    Syscalls(Shape),
    Instructions(Shape),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    PerSecond,
    Bytes,
    Micros,
    Calls,
    Instructions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Echo,
    Fan,
    Latency,
    Connections,
    Costs,
}

#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub group: Group,
    pub run: Run,
}

pub static ROWS: [Row; 23] = [
    rate("echo-20-32-1", "20 B, 32 connections, 1 in flight", echo(20, 32, 1)),
    rate("echo-20-500-1", "20 B, 500 connections, 1 in flight", echo(20, 500, 1)),
    rate("echo-20-32-16", "20 B, 32 connections, 16 in flight", echo(20, 32, 16)),
    rate("echo-20-32-128", "20 B, 32 connections, 128 in flight", echo(20, 32, 128)),
    rate("echo-1k-32-1", "1 KiB, 32 connections, 1 in flight", echo(1 << 10, 32, 1)),
    rate("echo-1k-32-64", "1 KiB, 32 connections, 64 in flight", echo(1 << 10, 32, 64)),
    rate("echo-16k-32-1", "16 KiB, 32 connections, 1 in flight", echo(16 << 10, 32, 1)),
    rate("echo-64k-32-1", "64 KiB, 32 connections, 1 in flight", echo(64 << 10, 32, 1)),
    rate("fan-1", "20 B to 1,000 subscribers, 1 outstanding", fan(20, 1)),
    rate("fan-16", "20 B to 1,000 subscribers, 16 outstanding", fan(20, 16)),
    rate("fan-64", "20 B to 1,000 subscribers, 64 outstanding", fan(20, 64)),
    rate(
        "fan-all",
        "20 B, 500 clients, each publishing to all 500",
        Shape { connections: 500, all_publish: true, ..fan(20, 1) },
    ),
    rate("fan-512", "512 B to 1,000 subscribers, 4 outstanding", fan(512, 4)),
    rate(
        "fan-deflate",
        "512 B to 1,000 subscribers, 4 outstanding, compressed",
        Shape { deflate: true, ..fan(512, 4) },
    ),
    row(
        "open-loop",
        "1 KiB, 500 connections, at 70 % of the rate with 16 in flight: 99.9 % take at most",
        Group::Latency,
        Run::Paced(echo(1 << 10, 500, 16)),
    ),
    idle("idle", "an idle connection", "/echo", false),
    idle("idle-topic", "an idle connection on one topic", "/fan", false),
    idle("idle-deflate", "an idle connection with compression agreed on", "/echo", true),
    row(
        "connect",
        "server CPU for a connection: accept, handshake, close",
        Group::Connections,
        Run::Connect,
    ),
    cost("syscalls-1", "system calls, 1 in flight", Run::Syscalls(echo(20, 32, 1))),
    cost("syscalls-16", "system calls, 16 in flight", Run::Syscalls(echo(20, 32, 16))),
    cost("instructions-1", "user instructions, 1 in flight", Run::Instructions(echo(20, 32, 1))),
    cost("instructions-16", "user instructions, 16 in flight", Run::Instructions(echo(20, 32, 16))),
];

const fn row(name: &'static str, title: &'static str, group: Group, run: Run) -> Row {
    Row { name, title, group, run }
}

const fn rate(name: &'static str, title: &'static str, shape: Shape) -> Row {
    let group =
        if shape.connections == 1_000 || shape.all_publish { Group::Fan } else { Group::Echo };
    row(name, title, group, Run::Rate(shape))
}

const fn idle(name: &'static str, title: &'static str, path: &'static str, deflate: bool) -> Row {
    row(name, title, Group::Connections, Run::Idle { path, deflate })
}

const fn cost(name: &'static str, title: &'static str, run: Run) -> Row {
    row(name, title, Group::Costs, run)
}

impl Row {
    pub fn deflate(&self) -> bool {
        match self.run {
            Run::Rate(shape) | Run::Paced(shape) => shape.deflate,
            Run::Syscalls(shape) | Run::Instructions(shape) => shape.deflate,
            Run::Idle { deflate, .. } => deflate,
            Run::Connect => false,
        }
    }

    /// It is counted, not timed.
    pub fn counts(&self) -> bool {
        matches!(self.run, Run::Syscalls(_) | Run::Instructions(_))
    }

    /// What of a run's result is the row's number.
    pub fn field(&self) -> &'static str {
        match self.run {
            Run::Rate(_) => "rate",
            Run::Paced(_) => "p999_us",
            Run::Connect => "server_cpu_us_per_connection",
            Run::Idle { .. } => "server_bytes_per_connection",
            Run::Syscalls(_) => "syscalls_per_message",
            Run::Instructions(_) => "instructions_per_message",
        }
    }

    pub fn unit(&self) -> Unit {
        match self.run {
            Run::Rate(_) => Unit::PerSecond,
            Run::Paced(_) | Run::Connect => Unit::Micros,
            Run::Idle { .. } => Unit::Bytes,
            Run::Syscalls(_) => Unit::Calls,
            Run::Instructions(_) => Unit::Instructions,
        }
    }

    /// The difference, as a part, up to which two numbers are called the same. Times are noisy,
    /// counts are not.
    pub fn tie(&self) -> f64 {
        match self.unit() {
            Unit::PerSecond | Unit::Micros => 0.10,
            Unit::Bytes | Unit::Calls | Unit::Instructions => 0.02,
        }
    }
}

impl Unit {
    pub fn more_is_better(self) -> bool {
        self == Unit::PerSecond
    }

    pub fn show(self, value: f64) -> String {
        match self {
            Unit::PerSecond => numbers::thousands(value),
            Unit::Bytes if value < 0.0 => "0 B".into(),
            Unit::Bytes if value < 1_000.0 => format!("{value:.0} B"),
            Unit::Bytes => format!("{} kB", numbers::significant(value / 1e3)),
            Unit::Micros if value < 1_000.0 => format!("{} µs", numbers::significant(value)),
            Unit::Micros => format!("{} ms", numbers::significant(value / 1e3)),
            Unit::Calls => numbers::significant(value),
            Unit::Instructions if value < 1_000.0 => numbers::significant(value),
            Unit::Instructions => numbers::grouped(value),
        }
    }
}

impl Group {
    pub const ALL: [Group; 5] =
        [Group::Echo, Group::Fan, Group::Latency, Group::Connections, Group::Costs];

    pub fn title(self) -> &'static str {
        match self {
            Group::Echo => "Echo: messages per second",
            Group::Fan => "Fan-out: deliveries per second",
            Group::Latency => "Latency at a fixed rate",
            Group::Connections => "Connections",
            Group::Costs => "For one echoed message of 20 B on 32 connections",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_each_and_groups_stay_together() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..at].iter().all(|before| before.name != row.name), "{}", row.name);
        }
        let mut groups: Vec<_> = ROWS.iter().map(|row| row.group).collect();
        groups.dedup();
        assert_eq!(groups, Group::ALL);
    }

    #[test]
    fn values_are_shown_in_their_unit() {
        for (unit, value, shown) in [
            (Unit::PerSecond, 149_234.0, "149k"),
            (Unit::Bytes, 255.6, "256 B"),
            (Unit::Bytes, 13_812.0, "13.8 kB"),
            (Unit::Bytes, -3.0, "0 B"),
            (Unit::Micros, 25.71, "25.7 µs"),
            (Unit::Micros, 1_234.0, "1.23 ms"),
            (Unit::Calls, 0.1284, "0.128"),
            (Unit::Instructions, 1_817.4, "1,817"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }
}
