//! What the echo server asks of the kernel, as strace counts it.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::trace::Trace;
use crate::support::echo::Echo;
use crate::support::{Frame, close_empty, text};

/// An echo server whose calls are recorded, those that `calls` names as strace does.
pub fn traced(calls: &str) -> (Echo, Trace) {
    let trace = Trace::new("echo");
    let calls = format!("--trace={calls}");
    let echo = Echo::start(&trace.tool(&["-ttt", &calls]));
    (echo, trace)
}

#[test]
fn the_kernel_counts_the_same() {
    let (mut echo, trace) = traced("network,read,write,readv,writev");
    let mut peer = echo.opens();
    for at in 0..500 {
        let message = text(format!("message {at}"));
        peer.sends(message.clone());
        peer.expects(message);
    }
    let messages: Vec<Frame> = (0..16).map(|at| text(format!("message {at}"))).collect();
    for _ in 0..100 {
        peer.sends_burst(&messages);
        messages.iter().for_each(|message| peer.expects(message.clone()));
    }
    echo.process.kills();
    let calls = trace.counts();
    let count = |call| calls.get(call).copied().unwrap_or(0);
    // And one of each for the handshake.
    assert_eq!((count("recvfrom"), count("sendto")), (601, 601));
    for other in ["recvmsg", "sendmsg", "readv", "writev"] {
        assert_eq!(count(other), 0, "{other}");
    }
}

/// The calls of an echo server over so many lives of a connection, one after the other: handshake,
/// messages one at a time, the closing handshake, the end.
fn calls_of(lives: usize, messages: usize) -> BTreeMap<String, usize> {
    let (mut echo, trace) = traced("all");
    for _ in 0..lives {
        let mut peer = echo.opens();
        for at in 0..messages {
            peer.sends(text(format!("message {at}")));
            peer.expects(text(format!("message {at}")));
        }
        peer.sends(close_empty());
        peer.expects(close_empty());
        peer.expects_eof();
    }
    // Once another has its answer, the loop is done with the last.
    let _later = echo.opens();
    echo.process.kills();
    trace.counts()
}

#[test]
fn a_life_of_a_connection_costs_one_epoll_ctl_and_nine_other_calls_beside_waits() {
    const LIVES: usize = 100;
    let before = calls_of(0, 0);
    for messages in [0, 7] {
        let mut calls = calls_of(LIVES, messages);
        calls.retain(|call, count| {
            *count -= before.get(call).unwrap_or(&0);
            *count > 0
        });
        let mut took = |call| calls.remove(call).unwrap_or(0);
        // One to be told that there is no other. TCP_NODELAY is the listener's.
        assert_eq!((took("accept4"), took("setsockopt")), (2 * LIVES, 0));
        assert_eq!(took("epoll_ctl"), LIVES);
        // The handshake, the Close frame and the end; the answers to the first two.
        assert_eq!(took("recvfrom"), (3 + messages) * LIVES);
        assert_eq!(took("sendto"), (2 + messages) * LIVES);
        assert_eq!((took("shutdown"), took("close")), (LIVES, LIVES));
        // One for each segment, the connection and the end, and a look beside the opening, which
        // is told at once; fewer where two come together.
        let waits = took("epoll_wait");
        assert!(waits <= (5 + messages) * LIVES, "{waits} waits");
        // The standard library looks at a descriptor before it closes it, in debug builds.
        let looks = if cfg!(debug_assertions) { LIVES } else { 0 };
        assert_eq!(took("fcntl"), looks);
        // What is left is the process's own: memory.
        assert!(calls.values().sum::<usize>() < 10, "{calls:?}");
    }
}

#[test]
fn an_idle_server_does_not_wake() {
    let (mut echo, trace) = traced("epoll_wait,epoll_pwait,epoll_pwait2");
    let mut peers: Vec<_> = (0..10).map(|_| echo.opens()).collect();
    for peer in &mut peers {
        peer.sends(text("x"));
        peer.expects(text("x"));
    }
    // The time that is measured. No Ping is due: the first comes after half an interval.
    thread::sleep(Duration::from_millis(5250));
    echo.process.kills();
    let lines = trace.lines();
    let [.., (began, call), (killed, _)] = &lines[..] else { panic!("{lines:?}") };
    assert!(call.starts_with("epoll_"), "{call}");
    assert!(killed - began >= 5.0, "it woke {} s before its end", killed - began);
}
