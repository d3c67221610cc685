//! Each example does what its first line says.

#[path = "support/process.rs"]
mod process;

use std::{io::Write, net::UdpSocket};

use process::{Process, connect, read_close, read_text};
use tungstenite::Message;

#[test]
fn echo_sends_every_message_back() {
    let mut echo = Process::example("echo");
    let mut client = connect(&echo.address("ws://"), "/");
    client.send(Message::text("hello")).expect("it is sent");
    assert_eq!(read_text(&mut client), "hello");
}

#[test]
fn chat_keeps_its_rooms_apart() {
    let mut chat = Process::example("chat");
    let address = chat.address("ws://");
    let mut ada = connect(&address, "/lobby");
    assert!(read_text(&mut ada).ends_with(" joined"));
    let mut bob = connect(&address, "/lobby");
    assert!(read_text(&mut ada).ends_with(" joined"));
    assert!(read_text(&mut bob).ends_with(" joined"));
    let mut eve = connect(&address, "/elsewhere");
    assert!(read_text(&mut eve).ends_with(" joined"));

    ada.send(Message::text("hi")).expect("it is sent");
    assert!(read_text(&mut bob).ends_with(": hi"));
    bob.close(None).expect("it is sent");
    // Not ada's own message, nor anything of the other room.
    assert!(read_text(&mut ada).ends_with(" left (1005)"));
    eve.send(Message::text("alone")).expect("it is sent");
    eve.close(None).expect("it is sent");
    assert_eq!(read_close(&mut eve), 1005);
}

#[test]
fn own_loop_shares_its_poll_with_a_clock_and_a_udp_socket() {
    let mut own_loop = Process::example("own_loop");
    let line = own_loop.line();
    let (websocket, udp) = line.split_once("/, udp ").expect("both addresses are printed");
    let address = websocket.split_once("ws://").expect("the first is a URL").1;
    let mut client = connect(address, "/");
    assert!(read_text(&mut client).starts_with("tick "));

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.send_to(b"over udp", udp.trim()).expect("it is sent");
    loop {
        match client.read().expect("a message comes") {
            Message::Binary(bytes) => break assert_eq!(&bytes[..], b"over udp"),
            Message::Text(tick) => assert!(tick.as_str().starts_with("tick ")),
            other => panic!("{other:?}"),
        }
    }
    client.send(Message::text("bye")).expect("it is sent");
    assert_eq!(read_close(&mut client), 1000);
}

#[test]
fn publish_from_thread_publishes_each_line_and_ends_with_the_input() {
    let mut lines = Process::example("publish_from_thread");
    let mut client = connect(&lines.address("ws://"), "/");
    // The connection has to be subscribed: a line that comes back says so.
    let mut input = lines.child.stdin.take().expect("standard input is a pipe");
    let mut sent = 0;
    client.get_ref().0.set_nonblocking(true).expect("it can be");
    let first = loop {
        writeln!(input, "line {sent}").expect("the example reads");
        sent += 1;
        match client.read() {
            Ok(message) => break message.into_text().expect("it is text").as_str().to_owned(),
            Err(tungstenite::Error::Io(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            }
            Err(error) => panic!("{error}"),
        }
    };
    client.get_ref().0.set_nonblocking(false).expect("it can be");
    let first: u32 = first.trim_start_matches("line ").parse().expect("it is one of the lines");
    for n in first + 1..sent {
        assert_eq!(read_text(&mut client), format!("line {n}"));
    }
    drop(input);
    assert_eq!(read_close(&mut client), 1001);
    let summary = lines.line();
    assert!(summary.ends_with(&format!("{} deliveries\n", sent - first)), "{summary}");
}
