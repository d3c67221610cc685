//! `shim.c`, built, and what it is for: SIGPIPE where Rust's runtime does not ignore it, and reads
//! and writes of a byte.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::SockRef;

use super::run::{Client, Subject, connect, eventually};
use super::trace::Trace;
use crate::support::campaign::scale;
use crate::support::process::scratch;
use crate::support::{PATIENCE, binary, text};

/// The shared object, built once.
fn library() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let test = std::env::current_exe().expect("the test knows its own file");
        let folder = test.parent().expect("it is in a folder");
        // Others may run the same test: whole files take each other's place.
        let library: PathBuf = folder.join("shim.so");
        let fresh = folder.join(format!("shim-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/shim.c");
        let arguments = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o"];
        let built = Command::new("cc").args(arguments).arg(&fresh).status();
        let built = built.unwrap_or_else(|problem| panic!("cc: {problem} (tests/run.sh has it)"));
        assert!(built.success(), "{built}");
        fs::rename(fresh, &library).expect("it was built");
        library.to_str().expect("the path is text").to_owned()
    })
}

/// The command that runs another with the shim loaded.
fn shimmed(words: &str) -> [String; 3] {
    let preload = format!("LD_PRELOAD={}", library());
    ["env".into(), preload, format!("PUSHLOOP_SHIM={words}")]
}

/// Peers that ask for an echo, send FIN and then RST while the subject is stopped: when it goes on,
/// it reads what they said, and answers who is gone.
fn asks_and_resets(subject: &Subject, peers: usize) {
    let mut clients: Vec<_> =
        (0..peers).map(|_| subject.opens("/").expect("the server answers")).collect();
    subject.stops();
    for client in &mut clients {
        client.sends(&text("and gone")).expect("the kernel takes it");
        let stream = client.stream.get_ref();
        stream.shutdown(std::net::Shutdown::Write).expect("the connection lives");
        let linger = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        linger.expect("a socket can be closed with a reset");
    }
    drop(clients);
    subject.process.signal("CONT");
}

#[test]
fn a_write_to_who_is_gone_does_not_end_a_process_that_restored_sigpipe() {
    const SIGPIPE_BIT: u64 = 1 << 12;
    let peers = scale(100, 1000);
    let trace = Trace::new("sigpipe");
    let tool = trace.tool(&["--seccomp-bpf", "-e", "trace=sendto,write"]);
    let shim = shimmed("sigpipe");
    let shim = shim.each_ref().map(String::as_str);
    let mut subject = Subject::start(&[tool, shim.to_vec()].concat(), &["127.0.0.1:0"]);
    let status = fs::read_to_string(format!("/proc/{}/status", subject.pid())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("it is hexadecimal");
    assert_eq!(ignored & SIGPIPE_BIT, 0, "SIGPIPE is ignored: {ignored:x}");
    let mut monitor = subject.opens("/").expect("the server answers");
    asks_and_resets(&subject, peers);
    monitor.is_alone();
    subject.is_alive();
    subject.process.kills();
    let failed = trace.text().lines().filter(|line| line.contains("EPIPE")).count();
    // Under strace it may stop only after another call or two.
    assert!(failed > peers / 2, "only {failed} of {peers} writes failed with EPIPE");
    println!("figure writes to peers that are gone, with SIGPIPE at its default: {failed}, alive");
}

#[test]
fn the_shim_would_let_sigpipe_end_it() {
    const SIGPIPE: i32 = 13;
    let shim = shimmed("sigpipe,mayraise");
    let mut subject = Subject::start(&shim.each_ref().map(String::as_str), &["127.0.0.1:0"]);
    asks_and_resets(&subject, 1);
    let mut ended = None;
    eventually(|| {
        ended = subject.process.child.try_wait().expect("it is ours");
        ended.map(|_| ()).ok_or_else(|| "it is alive".into())
    });
    assert_eq!(ended.and_then(|status| status.signal()), Some(SIGPIPE));
}

#[test]
fn a_write_to_a_unix_peer_that_is_gone_does_not_end_it_either() {
    let peers = scale(100, 1000);
    let listen = format!("unix:{}", scratch("socket").display());
    let shim = shimmed("sigpipe");
    let mut subject = Subject::start(&shim.each_ref().map(String::as_str), &[&listen]);
    let mut monitor = subject.opens_socket("/").expect("the server answers");
    for _ in 0..peers {
        let mut peer = subject.opens_socket("/").expect("the server answers");
        peer.sends(&text("and gone")).expect("the kernel takes it");
    }
    monitor.is_alone();
    subject.is_alive();
}

/// A byte for each call, and EAGAIN at every 16th: the same bytes come back.
#[test]
fn reads_and_writes_of_one_byte_lose_nothing() {
    let shim = shimmed("bytes=1");
    let trace = Trace::new("bytes");
    let tool = trace.tool(&["--seccomp-bpf", "-e", "trace=recvfrom,sendto"]);
    let mut subject = Subject::start(
        &[tool, shim.each_ref().map(String::as_str).to_vec()].concat(),
        &["127.0.0.1:0"],
    );
    for path in ["/", "/t"] {
        let mut client = subject.opens(path).expect("the server answers");
        for len in [0, 1, 125, 126, 1000, 5000] {
            let payload: Vec<u8> = (0..len).map(|at| at as u8 ^ len as u8).collect();
            client.echoes(&binary(payload)).expect("the server answers");
        }
        client.closes().expect("the server closes");
    }
    // What comes in one burst, its end with it.
    let stream = connect(subject.address, PATIENCE).expect("the server listens");
    let mut burst = crate::support::handshake("/", "").into_bytes();
    (0..20).for_each(|at| burst.extend(text(format!("message {at}")).masked([at; 4])));
    (&stream).write_all(&burst).expect("the kernel takes it");
    stream.shutdown(std::net::Shutdown::Write).expect("the connection lives");
    let mut client = Client { stream: BufReader::new(stream) };
    client.reads_head().expect("the server answers");
    for at in 0..20 {
        client.expects(&text(format!("message {at}"))).expect("it echoes");
    }
    subject.is_alive();
    subject.process.kills();
    let moved = |line: &&str| !line.contains('+') && !line.ends_with(" = 0");
    let text = trace.text();
    let calls: Vec<&str> = text.lines().filter(moved).collect();
    let short = calls.iter().filter(|line| line.ends_with(" = 1")).count();
    assert!(short > 20_000, "{short} calls moved a byte");
    println!("figure reads and writes of one byte: {short}");
}
