//! The soak: one server under messages and under connections that come and end in every way, for as
//! long as it takes, and whether anything of that stays behind.
//!
//! `soak --help` lists the options. The server is a process of its own (`serve.rs`): the library with
//! its default limits. Two threads send messages (`messages.rs`): echoes, and publications to a room.
//! Others make connections and end them (`churn.rs`), each in the next of many ways. Once a second the
//! process is looked at from outside, and asked for its counters (`samples.rs`).
//!
//! At the end everybody leaves, and the server has to be as it was: the same descriptors, no connection,
//! topic or queued byte, and its loop not awake once in a time in which every timer of a
//! connection would have been due.

mod chart;
mod churn;
mod client;
mod messages;
mod options;
mod samples;
mod serve;

use std::{
    env, fs, io,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use options::{Asked, Options};
use samples::{Sample, Soaked};

/// A shorter run has no slope worth the name.
const SECONDS_FOR_SLOPE: usize = 60;
const ECHOERS: usize = 4;
const MEMBERS: usize = 32;

/// What the threads have done so far.
#[derive(Debug, Default)]
pub struct Done {
    messages: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
}

impl Done {
    /// An error of one thread is the end of all.
    fn by(&self, ended: io::Result<()>) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        ended
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn main() -> ExitCode {
    let done = match options::parse(env::args_os().skip(1)) {
        Ok(Asked::Serve) => serve::serve().map(|()| true),
        Ok(Asked::Help) => {
            print!("{}", options::USAGE);
            Ok(true)
        }
        Ok(Asked::Soak(options)) => soak(&options),
        Err(error) => {
            eprintln!("soak: {error} (see --help)");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> io::Result<bool> {
    let server = Soaked::start()?;
    let done = Done::default();
    let before = server.rests(&done)?;
    let mut samples = vec![before];
    thread::scope(|scope| {
        let (address, done) = (server.address(), &done);
        let threads = [
            scope.spawn(move || done.by(messages::talk(address, done, "/echo", ECHOERS))),
            scope.spawn(move || done.by(messages::talk(address, done, "/room", MEMBERS))),
            scope.spawn(move || done.by(churn::churn(address, done, 0))),
            scope.spawn(move || done.by(churn::churn(address, done, 1))),
        ];
        let watched = watch(&server, options, done, &mut samples);
        done.stop.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().map(|thread| thread.join().expect("no thread panics"));
        ended.fold(watched, |all, one| all.and(one))
    })?;
    let last = server.rests(&done)?;
    let calm = server.wakes_in(options.calm)?;
    samples.push(last);
    report(options, &before, &samples, calm)
}

/// Takes a sample each second until all is done, or the time is over.
fn watch(
    server: &Soaked,
    options: &Options,
    done: &Done,
    samples: &mut Vec<Sample>,
) -> io::Result<()> {
    let began = Instant::now();
    for second in 1.. {
        thread::sleep(Duration::from_secs(1));
        samples.push(server.sample(second, done)?);
        let all = done.messages.load(Ordering::Relaxed) >= options.messages
            && done.connections.load(Ordering::Relaxed) >= options.connections;
        if all || began.elapsed() >= options.seconds || !done.goes_on() {
            break;
        }
        if second % 10 == 0 {
            write(options, samples)?;
        }
    }
    Ok(())
}

fn write(options: &Options, samples: &[Sample]) -> io::Result<()> {
    options.csv.as_ref().map_or(Ok(()), |file| fs::write(file, samples::csv(samples)))
}

fn report(options: &Options, before: &Sample, samples: &[Sample], calm: u64) -> io::Result<bool> {
    write(options, samples)?;
    let (last, slope) = (samples[samples.len() - 1], samples::slope(samples));
    if let Some(file) = &options.svg {
        fs::write(file, chart::svg(samples, slope))?;
    }
    let seconds = samples.len() - 2;
    println!("figure soak, messages: {} in {seconds} s", last.messages);
    println!("figure soak, connections made and ended in {} ways: {}", churn::ALL_WAYS, last.made);
    println!("figure soak, handler panics: {}", last.counters[3]);
    println!("figure soak, slope of the server's memory: {:.2} % over the run", slope * 100.0);
    println!("figure soak, memory: {} KiB before, {} KiB after", before.rss_kib, last.rss_kib);
    println!("figure soak, descriptors: {} before, {} after", before.fds, last.fds);
    for (name, left) in samples::NAMES.iter().zip(last.counters).take(3) {
        println!("figure soak, {name} left: {left}");
    }
    println!("figure soak, wakes of the idle loop in {:?}: {calm}", options.calm);
    let restored = before.fds == last.fds && last.is_empty() && calm == 0;
    // A short run is all warm-up, and a process of three mebibytes moves by some of its pages.
    let grown_kib = slope * last.rss_kib as f64;
    let flat = seconds < SECONDS_FOR_SLOPE || slope < 0.01 || grown_kib < 1024.0;
    Ok(restored && flat)
}
