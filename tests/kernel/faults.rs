//! Each call that the server makes of the kernel fails once, with each error that it may fail with,
//! at each of its first positions: whoever's call it was may be lost, and nobody else notices.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::run::Subject;
use super::trace::Trace;
use crate::support::campaign::is_full;
use crate::support::process::Process;
use crate::support::process::scratch;
use crate::support::text;

/// A call, an error, and how many connections it may cost.
#[derive(Clone, Copy, Debug)]
struct Fault {
    call: &'static str,
    error: &'static str,
    lost_max: usize,
    /// Over Unix-domain sockets, and not TCP.
    unix: bool,
}

const fn fault(call: &'static str, error: &'static str, lost_max: usize) -> Fault {
    Fault { call, error, lost_max, unix: false }
}

const fn unix(call: &'static str, error: &'static str, lost_max: usize) -> Fault {
    Fault { unix: true, ..fault(call, error, lost_max) }
}

/// Out of resources, the server takes one connection and drops it, so that it is not left waiting.
const FAULTS: [Fault; 40] = [
    fault("accept4", "EMFILE", 1),
    fault("accept4", "ENFILE", 1),
    fault("accept4", "ENOMEM", 1),
    fault("accept4", "ENOBUFS", 1),
    fault("accept4", "ECONNABORTED", 0),
    fault("accept4", "EPERM", 0),
    fault("accept4", "EPROTO", 0),
    fault("accept4", "EINTR", 0),
    fault("accept4", "ECONNRESET", 0),
    fault("recvfrom", "EINTR", 0),
    fault("recvfrom", "ECONNRESET", 1),
    fault("recvfrom", "ETIMEDOUT", 1),
    fault("recvfrom", "EHOSTUNREACH", 1),
    fault("recvfrom", "ENOMEM", 1),
    fault("recvfrom", "ENOBUFS", 1),
    fault("sendto", "EINTR", 0),
    fault("sendto", "EPIPE", 1),
    fault("sendto", "ECONNRESET", 1),
    fault("sendto", "ETIMEDOUT", 1),
    fault("sendto", "EHOSTUNREACH", 1),
    fault("sendto", "ENOMEM", 1),
    fault("sendto", "ENOBUFS", 1),
    unix("sendto", "EINTR", 0),
    unix("sendto", "EPIPE", 1),
    unix("sendto", "ECONNRESET", 1),
    unix("sendto", "ETIMEDOUT", 1),
    unix("sendto", "EHOSTUNREACH", 1),
    unix("sendto", "ENOMEM", 1),
    unix("sendto", "ENOBUFS", 1),
    fault("epoll_wait", "EINTR", 0),
    fault("epoll_ctl", "ENOSPC", 1),
    fault("epoll_ctl", "ENOMEM", 1),
    fault("epoll_ctl", "EPERM", 1),
    fault("epoll_ctl", "EEXIST", 1),
    fault("shutdown", "ENOTCONN", 0),
    fault("close", "EINTR", 0),
    fault("close", "EIO", 0),
    fault("write", "EINTR", 0),
    fault("mmap", "ENOMEM", 1),
    fault("brk", "ENOMEM", 1),
];

/// What accept(2) says that a connection may be lost to before it is accepted, and the others that
/// it names: none is a reason to accept no more.
const ACCEPT_ERRORS: [&str; 16] = [
    "EPERM",
    "ECONNABORTED",
    "EPROTO",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ECONNRESET",
    "ETIMEDOUT",
    "EINTR",
    "EBADF",
    "EINVAL",
    "ENOTSOCK",
];

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It served on; so many connections were lost.
    Served(usize),
    /// It did not start, and said so by its exit code.
    NotStarted,
    /// There was no memory for it: the standard library ends a process whose allocation fails.
    OutOfMemory,
    /// It made fewer such calls.
    NotReached,
}

/// The subject with one call failing, the `position`th of its kind in each of its threads.
fn run(fault: Fault, position: usize, descriptors: usize) -> End {
    // Positions are counted for each thread: the main one writes where it listens, and an `EINTR`
    // is no reason not to; the other wakes the loop.
    let trace = Trace::new(&format!("{}-{}-{position}", fault.call, fault.error));
    let inject = format!("inject={}:error={}:when={position}", fault.call, fault.error);
    let calls = format!("trace={}", fault.call);
    let tool = trace.tool(&["--seccomp-bpf", "-e", &calls, "-e", &inject]);
    let is_memory = ["mmap", "brk"].contains(&fault.call);
    let socket = format!("unix:{}", scratch("fault").display());
    let listen = if fault.unix { &socket } else { "127.0.0.1:0" };
    let mut subject = match Subject::try_start(&tool, &[listen]) {
        Ok(subject) => subject,
        Err(process) => return not_started(process, is_memory),
    };
    let lost = match serve(&mut subject, position + 2) {
        Ok(lost) => lost,
        Err(problem) if is_memory => return out_of_memory(subject, &problem),
        Err(problem) => panic!("{problem}"),
    };
    assert!(lost <= fault.lost_max, "{lost} connections were lost");
    // A call that strace has fail is not made: the kernel still has the descriptor.
    let left = usize::from(fault.call == "close");
    if fault.call != "close" || subject.descriptors() > descriptors {
        subject.comes_to_descriptors(descriptors + left);
    }
    subject.is_alive();
    subject.process.kills();
    if trace.text().contains("(INJECTED)") { End::Served(lost) } else { End::NotReached }
}

fn not_started(mut process: Process, is_memory: bool) -> End {
    let status = process.ended();
    if is_memory && status.signal().is_some() {
        return End::OutOfMemory;
    }
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    End::NotStarted
}

fn out_of_memory(mut subject: Subject, problem: &io::Error) -> End {
    const SIGABRT: i32 = 6;
    let status = subject.process.ended();
    assert_eq!(status.signal(), Some(SIGABRT), "{status}: {problem}");
    End::OutOfMemory
}

/// So many lives of a connection, and one beside them that hears all that they say. Gives how many
/// were lost; an error is that nobody is served.
fn serve(subject: &mut Subject, lives: usize) -> io::Result<usize> {
    let mut lost = 0;
    let mut witness = None;
    for at in 0..lives {
        if witness.is_none() {
            witness = subject.opens_socket("/t").ok();
        }
        if witness.is_none() {
            lost += 1;
            witness = Some(subject.opens_socket("/t")?);
        }
        let (said, handed) = (text(format!("life {at}")), text(format!("line {at}")));
        let lived = subject.opens_socket("/t").and_then(|mut client| {
            client.sends(&said)?;
            client.expects(&said)?;
            // It subscribes, so that it hears what comes in by the mailbox too.
            let input = subject.process.child.stdin.as_mut().expect("it is a pipe");
            writeln!(input, "line {at}")?;
            client.expects(&handed)?;
            client.closes()
        });
        let Some(other) = &mut witness else { continue };
        // What it said may have been published before it was lost.
        let heard = match &lived {
            Ok(()) => other.expects(&said).and_then(|()| other.expects(&handed)),
            Err(_) => other.sends(&text("the others?")).and_then(|()| {
                loop {
                    if other.reads()? == text("the others?") {
                        break Ok(());
                    }
                }
            }),
        };
        lost += usize::from(lived.is_err());
        if heard.is_err() {
            lost += 1;
            witness = None;
        }
    }
    let mut witness = match witness {
        Some(witness) => witness,
        None => subject.opens_socket("/t")?,
    };
    let last = text("all are well");
    witness.sends(&last)?;
    witness.expects(&last)?;
    Ok(lost)
}

/// All runs, on a few threads; each end, how often.
fn campaign(runs: &[(Fault, usize)]) -> BTreeMap<End, usize> {
    let mut clean = Subject::start(&[], &["127.0.0.1:0"]);
    let descriptors = clean.descriptors();
    clean.is_alive();
    let next = AtomicUsize::new(0);
    let ends = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((fault, position)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let context = format!("{} fails with {} at {position}", fault.call, fault.error);
            let told = Told(&context);
            let end = run(*fault, *position, descriptors);
            std::mem::forget(told);
            // Memory is asked for as the allocator sees fit, every other call by each life.
            let all = fault.call != "mmap" && fault.call != "brk";
            assert!(end != End::NotReached || !all, "{context}: it never did");
            *ends.lock().expect("no run failed").entry(end).or_default() += 1;
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| _ = scope.spawn(work));
    });
    ends.into_inner().expect("no run failed")
}

/// Says which run it was that failed.
struct Told<'a>(&'a str);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("{}", self.0);
    }
}

fn lost(ends: &BTreeMap<End, usize>) -> usize {
    let lost = |(end, runs): (&End, &usize)| match end {
        End::Served(lost) => lost * runs,
        _ => 0,
    };
    ends.iter().map(lost).sum()
}

#[test]
fn any_call_may_fail_at_any_position_and_costs_no_more_than_its_own_connection() {
    let positions = if is_full() { (1..=50).collect() } else { vec![1, 2, 7, 20] };
    let runs: Vec<_> = FAULTS
        .iter()
        .flat_map(|fault| positions.iter().map(move |position| (*fault, *position)))
        .collect();
    let ends = campaign(&runs);
    let of = |end: End| ends.get(&end).copied().unwrap_or(0);
    println!(
        "figure system calls that fail: {} runs of {} calls and errors, {} connections lost, \
         {} not started, {} ended for want of memory, {} not reached; 0 hangs, crashes, leaks",
        runs.len(),
        FAULTS.len(),
        lost(&ends),
        of(End::NotStarted),
        of(End::OutOfMemory),
        of(End::NotReached),
    );
}

#[test]
fn whatever_accept_fails_with_the_server_accepts_on() {
    let positions = if is_full() { 1..=20 } else { 1..=2 };
    let runs: Vec<_> = ACCEPT_ERRORS
        .iter()
        .flat_map(|error| positions.clone().map(|position| (fault("accept4", error, 0), position)))
        .collect();
    let ends = campaign(&runs);
    assert_eq!(ends, BTreeMap::from([(End::Served(0), runs.len())]));
    println!("figure errors of accept: {} runs, all accepted on", runs.len());
}
