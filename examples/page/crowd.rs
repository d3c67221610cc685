//! Company for who is alone: WebSocket clients like any other, in a thread of their own.
//! `--bots N [--seconds N]`: after so many seconds the thread prints what `GET /ticks` says of them,
//! and the process ends.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process, thread,
    time::{Duration, Instant},
};

use crate::page::Numbers;

pub const OPTIONS: &[&str] = &["--bots", "--seconds"];

/// What a bot answers to a message, if it does. To begin with, it gets an empty one.
pub type Bot = Box<dyn FnMut(&[u8]) -> Option<tungstenite::Message>>;

/// Starts as many as the command line says; `make` gets the number of each.
pub fn start(address: SocketAddr, numbers: &Numbers, make: fn(usize) -> Bot) {
    let Some(count) = numbers.get("--bots").map(|count| *count as usize) else { return };
    let time = numbers.get("--seconds").map_or(Duration::MAX, |n| Duration::from_secs(*n));
    thread::spawn(move || {
        let played = play(address, (0..count).map(make), time).and_then(|()| report(address));
        match &played {
            Ok(report) => report.lines().for_each(|line| println!("figure {count} bots, {line}")),
            Err(error) => eprintln!("bots: {error}"),
        }
        process::exit(played.is_err().into());
    });
}

fn play(
    address: SocketAddr,
    bots: impl Iterator<Item = Bot>,
    time: Duration,
) -> Result<(), Box<dyn Error>> {
    let mut all = Vec::new();
    for mut bot in bots {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/live"), stream)?;
        bot(&[]).map_or(Ok(()), |greeting| socket.send(greeting))?;
        all.push((socket, bot));
    }
    #[expect(clippy::disallowed_methods, reason = "this is a client, with a clock of its own")]
    let now = Instant::now;
    let began = now();
    while now() - began < time {
        // All are sent the same: what one waits for, the others get as well.
        for (socket, bot) in &mut all {
            let message = socket.read()?.into_data();
            bot(&message).map_or(Ok(()), |answer| socket.send(answer))?;
        }
    }
    Ok(())
}

fn report(address: SocketAddr) -> Result<String, Box<dyn Error>> {
    let mut server = TcpStream::connect(address)?;
    write!(server, "GET /ticks HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").ok_or("no answer")?.1.to_owned())
}
