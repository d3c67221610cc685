//! What a peer may ask for, where it is more than what it sends.

use tungstenite::Message;

use super::update::TEXT;
use super::{ANSWER, Page, UPDATE, connect, framed, served_text, start, var};

/// What the server has is longer by then than what many people write.
#[test]
fn a_question_to_who_is_out_of_step_is_paid_for_as_well() {
    const CLIENTS: u64 = 2_000;
    let (_editor, address) = start();
    let client = |n: u64| var((1 << 53) - 1 - CLIENTS + n);
    let first = [&[1][..], &client(0), &[0, 4, 1, 4], TEXT.as_bytes(), b"\x01x"].concat();
    let behind = |n: u64| [&[1], &client(n)[..], &[0, 0x84], &client(n - 1), b"\0\x01x"].concat();
    let insertions = (1..CLIENTS).flat_map(behind);
    let update = var(CLIENTS).into_iter().chain(first).chain(insertions).chain([0]);
    let mut ada = Page::open(&address, 1);
    ada.send(framed(UPDATE, &update.collect::<Vec<_>>()));
    assert_eq!(served_text(&mut ada, &address), "x".repeat(CLIENTS as usize));

    let mut eve = connect(&address, "/live");
    let mut told = 0;
    let end = loop {
        eve.send(framed(ANSWER, &[1, 1, 9, 5])).expect("it is sent");
        match eve.read().expect("it is answered, or closed") {
            Message::Binary(question) => told += question.len(),
            Message::Close(frame) => break frame.expect("it has a code"),
            _ => {}
        }
        assert!(told < 4 << 20, "{told} bytes for nothing");
    };
    assert_eq!((u16::from(end.code), end.reason.as_str()), (1008, "too much at once"));
}
