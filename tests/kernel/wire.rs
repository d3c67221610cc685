//! A wire of our own to a network namespace with the subject in it, so that the wire can be cut,
//! lossy, slow and narrow: a pair of virtual interfaces, `nft` and `tc`.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::run::{Client, Subject, connect, eventually};
use crate::support::campaign::{is_full, scale};
use crate::support::{binary, text};

/// A segment that is lost five times in a row is sent again after six seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// A namespace and the wire to it; both go with the test.
struct Wire {
    namespace: String,
    /// The subject's address on it, without a port: 198.18.0.0/15 is set aside for tests of networks.
    address: String,
    interface: String,
}

fn does(command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let done = Command::new(words[0]).args(&words[1..]).output();
    let done = done.unwrap_or_else(|problem| panic!("{}: {problem} (see tests/run.sh)", words[0]));
    let problem = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command}: {problem} (namespaces need root)");
}

impl Wire {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let net = format!("198.{}.{}", 18 + pid % 2, pid / 2 % 256);
        let (here, there) = (number * 4 + 1, number * 4 + 2);
        let wire = Self {
            namespace: format!("push-{pid}-{number}"),
            address: format!("{net}.{there}"),
            interface: format!("p{pid}-{number}"),
        };
        let Self { namespace, interface, .. } = &wire;
        does(&format!("ip netns add {namespace}"));
        does(&format!("ip link add {interface} type veth peer name eth0 netns {namespace}"));
        does(&format!("ip address add {net}.{here}/30 dev {interface}"));
        does(&format!("ip link set {interface} up"));
        wire.inside(&format!("ip address add {net}.{there}/30 dev eth0"));
        wire.inside("ip link set eth0 up");
        wire.inside("ip link set lo up");
        wire
    }

    fn inside(&self, command: &str) {
        does(&format!("ip netns exec {} {command}", self.namespace));
    }

    /// Starts the subject at the other end.
    fn starts(&self, arguments: &[&str]) -> Subject {
        let listen = format!("{}:0", self.address);
        let tool = ["ip", "netns", "exec", &self.namespace];
        let mut subject = Subject::start(&tool, &[&[&listen[..]], arguments].concat());
        subject.patience = PATIENCE;
        subject
    }

    /// Rules for what the subject's end takes and sends, in the place of those before.
    fn filters(&self, input: &str, output: &str) {
        let rules = format!(
            "flush ruleset
             table inet bad {{
                 chain input {{ type filter hook input priority 0; {input}; }}
                 chain output {{ type filter hook output priority 0; {output}; }}
             }}"
        );
        let mut nft: Child = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("tests/run.sh installs it");
        let mut input = nft.stdin.take().expect("it is a pipe");
        input.write_all(rules.as_bytes()).expect("it reads");
        drop(input);
        let done = nft.wait().expect("it is ours");
        assert!(done.success(), "nft: {done}");
    }

    /// A counter of the kernel's at the other end, of `TcpExt`.
    fn counter(&self, name: &str) -> u64 {
        let told = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "cat", "/proc/net/netstat"])
            .output()
            .expect("ip runs");
        let told = String::from_utf8(told.stdout).expect("it is text");
        let mut lines = told.lines().filter(|line| line.starts_with("TcpExt:"));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else { panic!("{told}") };
        let mut pairs = names.split(' ').zip(values.split(' '));
        let value = pairs.find(|(other, _)| *other == name).expect("the kernel has the counter").1;
        value.parse().expect("it is a number")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The pair goes with either end; the namespace's would wait for its last socket.
        for command in [["link", "delete", &self.interface], ["netns", "delete", &self.namespace]] {
            let _ = Command::new("ip").args(command).status();
        }
    }
}

/// Several clients at once get their messages back, byte for byte.
fn talks(subject: &Subject, clients: usize, messages: usize, len: usize) {
    let client = |number: usize| {
        let mut client = subject.opens("/").expect("the wire holds");
        for message in 0..messages {
            let byte = |at: usize| (at ^ at >> 8 ^ message ^ number) as u8;
            let payload: Vec<u8> = (0..len).map(byte).collect();
            client.echoes(&binary(payload)).expect("the wire holds");
        }
        client.closes().expect("the wire holds");
    };
    thread::scope(|scope| {
        (0..clients).for_each(|number| _ = scope.spawn(move || client(number)));
    });
    subject.opens("/").expect("the wire holds").is_alone();
}

#[test]
// What it took is told, and decides nothing.
#[allow(clippy::disallowed_methods)]
fn peers_behind_a_wire_that_was_cut_are_given_up() {
    let peers = scale(200, 1000);
    let wire = Wire::new();
    let mut subject = wire.starts(&["1000"]);
    let descriptors = subject.descriptors();
    let peers: Vec<_> =
        (0..peers).map(|_| subject.opens("/t").expect("the server answers")).collect();
    wire.filters("drop", "drop");
    let cut = Instant::now();
    // Three seconds and the time that the machine takes; no FIN and no RST comes through.
    subject.comes_to_descriptors(descriptors);
    let took = cut.elapsed();
    wire.filters("accept", "accept");
    let counts = subject.opens("/").expect("the wire is whole again").is_alone();
    assert_eq!(counts["timeouts"], peers.len() as u64, "{counts:?}");
    subject.is_alive();
    println!("figure peers behind a cut wire: {}, given up within {took:.1?}", peers.len());
}

#[test]
fn a_lossy_wire_loses_no_byte() {
    for percent in if is_full() { vec![5, 10, 20] } else { vec![5, 10] } {
        let wire = Wire::new();
        let subject = wire.starts(&[]);
        let lose = format!("numgen random mod 100 < {percent} counter drop; accept");
        wire.filters(&lose, &lose);
        talks(&subject, scale(10, 50), scale(3, 50), 1000);
        println!("figure loss of {percent} % each way: 0 bytes lost");
    }
}

#[test]
fn a_narrow_wire_loses_no_byte() {
    let wire = Wire::new();
    for command in ["sysctl -qw net.ipv4.tcp_rmem=4096\t4096\t4096", "ip link set eth0 mtu 296"] {
        // The three numbers of the setting are one word.
        let words: Vec<&str> = command.split(' ').collect();
        let mut inside = Command::new("ip");
        let done = inside.args(["netns", "exec", &wire.namespace]).args(words).status();
        assert!(done.expect("ip runs").success(), "{command}");
    }
    does(&format!("ip link set {} mtu 296", wire.interface));
    let subject = wire.starts(&[]);
    talks(&subject, 4, scale(2, 20), 60_000);
    println!("figure packets of 296 bytes, receive buffers of 4 KiB: 0 bytes lost");
}

#[test]
fn a_slow_wire_loses_no_byte() {
    let wire = Wire::new();
    let subject = wire.starts(&[]);
    let rate = if is_full() { "256kbit" } else { "4mbit" };
    let slow = format!("root tbf rate {rate} burst 5kb latency 50ms");
    wire.inside(&format!("tc qdisc add dev eth0 {slow}"));
    talks(&subject, 4, 2, 60_000);
    println!("figure a wire of {rate}: 0 bytes lost");
}

/// What a firewall does: an RST to the server, in answer to what it sends.
#[test]
fn a_reset_from_between_ends_a_connection_once() {
    let peers = scale(50, 1000);
    let wire = Wire::new();
    let mut subject = wire.starts(&[]);
    let descriptors = subject.descriptors();
    let mut peers: Vec<_> =
        (0..peers).map(|_| subject.opens("/").expect("the server answers")).collect();
    let port = subject.address.port();
    wire.filters("accept", &format!("tcp sport {port} reject with tcp reset; accept"));
    for peer in &mut peers {
        peer.sends(&text("anybody there?")).expect("the kernel takes it");
    }
    subject.comes_to_descriptors(descriptors);
    wire.filters("accept", "accept");
    let counts = subject.opens("/").expect("the wire is whole again").is_alone();
    assert_eq!(counts["opened"], peers.len() as u64 + 1);
    subject.is_alive();
    println!("figure resets injected between: {}, each closed once", peers.len());
}

#[test]
fn a_backlog_that_overflows_keeps_nobody_waiting_for_ever() {
    const THREADS: usize = 20;
    let each = scale(2, 50);
    let wire = Wire::new();
    wire.inside("sysctl -qw net.core.somaxconn=8");
    let mut subject = wire.starts(&[]);
    subject.stops();
    let served = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let open = || -> Client<TcpStream> {
                        let stream =
                            connect(subject.address, PATIENCE).expect("the kernel tries again");
                        Client::open(stream, "/").expect("the server answers")
                    };
                    (0..each).map(|_| open().closes().expect("the server closes")).count()
                })
            })
            .collect();
        // More than there is room for are there before the server looks.
        eventually(|| match wire.counter("ListenOverflows") {
            0 => Err("the backlog does not overflow".into()),
            _ => Ok(()),
        });
        subject.process.signal("CONT");
        threads.into_iter().map(|thread| thread.join().expect("it was served")).sum::<usize>()
    });
    assert_eq!(served, THREADS * each);
    subject.opens("/").expect("the server answers").is_alone();
    subject.is_alive();
    let overflows = wire.counter("ListenOverflows");
    println!("figure connects to a backlog of 8: {served} served, {overflows} overflows");
}

/// The server closes first, as RFC 6455 §7.1.1 wants it, so that each connection leaves its
/// addresses to TIME_WAIT there, and they come again.
#[test]
fn connections_come_and_go_faster_than_their_addresses_are_free() {
    let lives = scale(2_000, 1_000_000);
    let wire = Wire::new();
    let mut subject = wire.starts(&[]);
    let descriptors = subject.descriptors();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..lives / 4 {
                    let client = subject.opens("/t").expect("no connection fails");
                    client.closes().expect("the server closes");
                }
            });
        }
    });
    subject.comes_to_descriptors(descriptors);
    subject.opens("/").expect("the server answers").is_alone();
    subject.is_alive();
    let reused = wire.counter("TWRecycled") + wire.counter("TW");
    println!("figure connections one after the other: {lives}, 0 failed, {reused} TIME_WAITs over");
}
