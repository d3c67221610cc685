//! A process that runs out of descriptors: what it does is counted by strace.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::crowd::{now, scale, turn_with_descriptors};
use crate::support::echo::Echo;
use crate::support::{PATIENCE, Peer, get, handshake, text};

/// Lets a process have so many descriptors, from here on.
fn limits(process: &Echo, descriptors: usize) {
    let pid = process.pid().to_string();
    let limit = format!("--nofile={descriptors}:");
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(done.expect("prlimit is part of util-linux").success());
}

/// Seconds of CPU that a process has taken.
fn cpu(process: &Echo) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    let ticks =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("proc(5)"));
    ticks.sum::<f64>() / 100.0
}

/// Asks for a WebSocket without waiting for the answer: the server does not accept.
fn asks(process: &Echo) -> Peer {
    let mut peer = Peer::connect(process.address);
    peer.sends_bytes(handshake("/", ""));
    peer
}

/// Leaves the process without a descriptor for so long, with peers that ask in vain. The ones that are
/// here talk on; the others are accepted when there is room. Gives how long it lasted.
fn starves(process: &mut Echo, time: Duration) -> Duration {
    let mut here: Vec<_> = (0..3).map(|_| process.opens()).collect();
    // Not even the descriptor in reserve can be opened again.
    limits(process, 3);
    let began = now();
    let mut outside: Vec<_> = (0..50).map(|_| asks(process)).collect();
    while now() - began < time {
        for peer in &mut here {
            peer.sends(text("still here"));
            peer.expects(text("still here"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(outside.iter_mut().all(|peer| peer.hears_nothing_for(Duration::from_millis(1))));
    let lasted = now() - began;
    limits(process, 1000);
    // Nobody knocks: those who wait are accepted all the same.
    let freed = now();
    outside.iter_mut().for_each(|peer| drop(peer.expects_upgrade()));
    println!(
        "figure accepting again {:?} after descriptors were freed, with no further SYN",
        now() - freed
    );
    for peer in here.iter_mut().chain(&mut outside) {
        peer.sends(text("here now"));
        peer.expects(text("here now"));
    }
    assert!(process.is_alive());
    lasted
}

#[test]
fn out_of_descriptors_the_loop_looks_again_now_and_then_and_accepts_who_waited() {
    let (mut process, trace) = Echo::traced("epoll_wait,epoll_pwait,epoll_pwait2,accept4");
    let lasted = starves(&mut process, Duration::from_secs(scale(2, 10)));
    process.kills();
    let failed = |text: &str| text.starts_with("accept4(") && text.contains("EMFILE");
    let lines = trace.lines();
    let accepts = lines.iter().filter(|(_, text)| failed(text)).count();
    // Ten times a second, each time twice: once more with the reserve given up.
    let most = 2 * (lasted.as_millis() as usize / 100 + 2);
    assert!(
        (2..=most).contains(&accepts),
        "{accepts} accepts in vain in {lasted:?}, and not {most}"
    );
    let waits = lines.iter().filter(|(_, text)| text.starts_with("epoll_")).count();
    // One for each look, one for each message, and those before and after.
    let messages = 3 * (lasted.as_millis() as usize / 50 + 1) + 53;
    assert!(waits <= accepts + messages + 500, "{waits} waits: the loop spins");
    println!(
        "figure out of descriptors for {lasted:?}: {accepts} accepts in vain, {waits} waits in all"
    );
}

#[test]
fn out_of_descriptors_next_to_no_time_is_taken() {
    let mut process = Echo::start(&[]);
    let before = cpu(&process);
    let lasted = starves(&mut process, Duration::from_secs(scale(1, 60)));
    let share = (cpu(&process) - before) / lasted.as_secs_f64() * 100.0;
    println!(
        "figure out of descriptors for {lasted:?}: {share:.1} % of a processor, 60 echoes a second among it"
    );
}

/// Asks something plain, and keeps the connection.
fn keeps_alive(process: &Echo) -> TcpStream {
    let mut stream = TcpStream::connect(process.address).expect("the backlog has room");
    stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    stream.write_all(get("/").as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut buffer = [0; 512];
        let n = stream.read(&mut buffer).expect("the server answers");
        assert!(n > 0, "the server hangs up");
        answer.extend_from_slice(&buffer[..n]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 426 "), "{}", answer.escape_ascii());
    stream
}

#[test]
fn out_of_descriptors_connections_that_wait_for_a_request_make_room_for_new_ones() {
    let descriptors: usize = scale(150, 10_000);
    let _turn = turn_with_descriptors(descriptors + 200);
    let limit = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let process = Echo::start(&["bash", "-c", &limit]);
    let mut here: Vec<_> = (0..10).map(|_| process.opens()).collect();
    // A request that has come half is not idle. Standard streams, poll, waker, listener and reserve are seven.
    let mut half = Peer::connect(process.address);
    half.sends_bytes("GET / HTTP/1.1\r\nHost: local");
    let idle: Vec<_> = (0..descriptors - 18).map(|_| keeps_alive(&process)).collect();
    // All are taken now. Each that comes is let in.
    let news = idle.len() / 2;
    let mut new: Vec<_> = (0..news).map(|_| process.opens()).collect();
    for peer in here.iter_mut().chain(&mut new) {
        peer.sends(text("x"));
        peer.expects(text("x"));
    }
    half.sends_bytes("host\r\n\r\n");
    half.expects_answer(426);
    let gone = idle.into_iter().filter(|mut stream| {
        stream.set_nonblocking(true).expect("a socket can be nonblocking");
        loop {
            match stream.read(&mut [0; 512]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    });
    let gone = gone.count();
    // accept4(2) asks for a descriptor before it looks whether somebody waits.
    assert!((news - 5..=news + 5).contains(&gone), "{gone} were ended for {news} new ones");
    println!(
        "figure {} connections that wait for a request, out of descriptors: {news} new WebSockets, all let in, {gone} of the others ended",
        2 * news
    );
}
