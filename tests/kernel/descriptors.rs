//! A process that runs out of descriptors: what it does is counted by strace.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::calls::traced;
use crate::support::campaign::{needs_descriptors, now, scale};
use crate::support::echo::Echo;
use crate::support::http::{dial, read_head};
use crate::support::{Peer, get, text};

/// Lets a process have so many descriptors, from here on.
fn limits(echo: &Echo, descriptors: usize) {
    let pid = echo.process.pid().to_string();
    let limit = format!("--nofile={descriptors}:");
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(done.expect("prlimit is part of util-linux").success());
}

/// Seconds of CPU that a process has taken.
fn cpu(echo: &Echo) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", echo.process.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    let ticks =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("proc(5)"));
    ticks.sum::<f64>() / 100.0
}

/// Leaves the process without a descriptor for so long, with peers that ask in vain. The ones that are
/// here talk on; the others are accepted when there is room. Gives how long it lasted.
fn starves(echo: &mut Echo, time: Duration) -> Duration {
    let mut here: Vec<_> = (0..3).map(|_| echo.opens()).collect();
    // Not even the descriptor in reserve can be opened again.
    limits(echo, 3);
    let began = now();
    let mut outside: Vec<_> = (0..50).map(|_| echo.asks()).collect();
    while now() - began < time {
        for peer in &mut here {
            peer.sends(text("still here"));
            peer.expects(text("still here"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(outside.iter_mut().all(|peer| peer.hears_nothing_for(Duration::from_millis(1))));
    let lasted = now() - began;
    limits(echo, 1000);
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
    assert!(echo.process.is_alive());
    lasted
}

#[test]
fn out_of_descriptors_the_loop_looks_again_now_and_then_and_accepts_who_waited() {
    let (mut echo, trace) = traced("epoll_wait,epoll_pwait,epoll_pwait2,accept4");
    let lasted = starves(&mut echo, Duration::from_secs(scale(2, 10)));
    echo.process.kills();
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
    let mut echo = Echo::start(&[]);
    let before = cpu(&echo);
    let lasted = starves(&mut echo, Duration::from_secs(scale(1, 60)));
    let share = (cpu(&echo) - before) / lasted.as_secs_f64() * 100.0;
    println!(
        "figure out of descriptors for {lasted:?}: {share:.1} % of a processor, 60 echoes a second among it"
    );
}

/// Asks something plain, and keeps the connection.
fn keeps_alive(echo: &Echo) -> TcpStream {
    let mut stream = dial(echo.address);
    stream.write_all(get("/").as_bytes()).expect("the server reads");
    let answer = read_head(&mut stream).expect("the server answers");
    assert!(answer.starts_with(b"HTTP/1.1 426 "), "{}", answer.escape_ascii());
    stream
}

#[test]
fn out_of_descriptors_connections_that_wait_for_a_request_make_room_for_new_ones() {
    let descriptors: usize = scale(150, 10_000);
    needs_descriptors(descriptors + 200);
    let limit = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let echo = Echo::start(&["bash", "-c", &limit]);
    let mut here: Vec<_> = (0..10).map(|_| echo.opens()).collect();
    // A request that has come half is not idle. Standard streams, poll, waker, listener and reserve are seven.
    let mut half = Peer::connect(echo.address);
    half.sends_bytes("GET / HTTP/1.1\r\nHost: local");
    let idle: Vec<_> = (0..descriptors - 18).map(|_| keeps_alive(&echo)).collect();
    // All are taken now. Each that comes is let in.
    let news = idle.len() / 2;
    let mut new: Vec<_> = (0..news).map(|_| echo.opens()).collect();
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
