//! What WebSockets send, and the backend is asked about.

use tungstenite::Message;

use super::{
    asking,
    backend::{Backend, Got, held, reply, yes},
    metric,
};
use crate::support::process::{connect, read_close, read_text};

/// One question at a time, in the order in which they were sent; and also those of a client that has left.
#[test]
fn messages_are_asked_about_in_their_order() {
    let (release, answer) = held(yes());
    let backend = Backend::start(answer);
    let (_server, address) = asking(&backend, &["publish"], &["--hook-timeout", "20000"]);
    let mut subscriber = connect(&address, "/t");
    let mut publisher = connect(&address, "/t");
    for number in 0..16 {
        publisher.send(Message::text(number.to_string())).expect("it is sent");
    }
    publisher.send(Message::Ping(Vec::new().into())).expect("it is sent");
    assert!(publisher.read().expect("it is answered").is_pong());
    // All have come by now.
    let open = ["in_flight", "waiting"].map(|it| metric(&address, &format!("hook_questions_{it}")));
    assert_eq!(open.iter().sum::<u64>(), 1);
    publisher.close(None).expect("it is sent");
    assert_eq!(read_close(&mut publisher), 1005);
    for number in 0..16 {
        release.send(()).expect("the backend waits");
        let question = backend.next().json();
        assert_eq!((&question["type"], &question["topics"][0]), (&"publish".into(), &"t".into()));
        assert_eq!(read_text(&mut subscriber), number.to_string());
    }
}

/// The limit of what may wait, and one more.
#[test]
fn a_client_that_does_not_wait_is_closed_with_1013() {
    let (release, answer) = held(yes());
    let backend = Backend::start(answer);
    let (_server, address) = asking(&backend, &["publish"], &["--hook-timeout", "20000"]);
    let mut publisher = connect(&address, "/t");
    for number in 0..17 {
        publisher.send(Message::text(number.to_string())).expect("it is sent");
    }
    assert_eq!(read_close(&mut publisher), 1013);
    assert_eq!(metric(&address, "hook_messages_overflowed_total"), 1);
    drop(release);
}

#[test]
fn a_message_that_is_refused_ends_the_connection_with_the_reason() {
    for (answer, code) in
        [(reply(403, "", "{\"reason\":\"not you\"}"), 1008), (reply(500, "", ""), 1013)]
    {
        let backend = Backend::start(move |_: &Got| answer.clone());
        let (_server, address) = asking(&backend, &["publish"], &[]);
        let mut publisher = connect(&address, "/t");
        publisher.send(Message::text("x")).expect("it is sent");
        assert_eq!(read_close(&mut publisher), code);
    }
}

/// With an answer that holds, nothing waits.
#[test]
fn an_answer_that_holds_is_one_for_all_messages() {
    let backend = Backend::start(|_: &Got| reply(204, "Cache-Control: max-age=60\r\n", ""));
    let (_server, address) = asking(&backend, &["publish"], &[]);
    let mut publisher = connect(&address, "/t");
    publisher.send(Message::text("0")).expect("it is sent");
    assert_eq!(read_text(&mut publisher), "0");
    for number in 1..100 {
        publisher.send(Message::text(number.to_string())).expect("it is sent");
    }
    for number in 1..100 {
        assert_eq!(read_text(&mut publisher), number.to_string());
    }
    backend.next();
    assert!(backend.has_no_more());
}
