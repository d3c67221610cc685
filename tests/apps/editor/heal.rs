//! What becomes of a document that yrs panics over.

use std::sync::atomic::{AtomicUsize, Ordering};

use tungstenite::Message;
use yrs::{ReadTxn, StateVector, Transact};

use super::{UPDATE, apply, delete, document, framed, insert, state, text_of};
use super::{
    document::Document,
    order::Work,
    server::{BROKEN, Editor, config},
    update::Refusal,
};
use crate::{
    support::binary,
    support::net::Wire,
    world::{World, close_in},
};

fn merge(server: &mut Document, update: &[u8]) -> Result<Vec<u8>, Refusal> {
    server.apply(update, &mut Work { left: u64::MAX })
}

#[test]
fn half_of_each_character_is_deleted_and_then_the_rest() {
    let (mut server, page) = (Document::new(), document(1));
    let whole = insert(&page, 0, &"😀".repeat(20));
    merge(&mut server, &whole).expect("it is merged");
    // By a peer that has no page: of each pair the second half.
    let ranges: Vec<u8> = (0..20).flat_map(|n| [2 * n + 1, 1]).collect();
    let halves = [&[0, 1, 1, 20][..], &ranges].concat();
    let new = merge(&mut server, &halves).expect("it is merged");
    apply(&page, &new);
    assert_eq!(server.text(), "\u{FFFD}".repeat(20));
    assert_eq!(text_of(&page), server.text());
    let all = delete(&page, 0, 20);
    merge(&mut server, &all).expect("it is merged");
    assert_eq!((server.text(), text_of(&page)), (String::new(), String::new()));
}

#[test]
fn a_panic_in_the_midst_of_a_change_leaves_what_was_merged_before() {
    let (mut server, page) = (Document::new(), document(1));
    server.midst = |text| assert!(!text.contains("BOOM"), "planted");
    for n in 0..2_000 {
        // Some are in the summary by then, and some are kept one by one.
        let update = insert(&page, n % 7, "a few words 😀 ");
        merge(&mut server, &update).expect("it is merged");
    }
    let (before, known) = (server.text(), server.vector());
    for boom in ["BOOM", "and a text with a BOOM in it"] {
        let (other, everything) = (document(2), StateVector::default());
        apply(&other, &server.lacking(&everything));
        let update = insert(&other, 5, boom);
        assert_eq!(merge(&mut server, &update), Err(Refusal::Broken));
        assert_eq!((server.text(), server.vector()), (before.clone(), known.clone()));
    }
    // It goes on from there, and all that is merged later is there after the next panic as well.
    let update = insert(&page, 3, "later");
    merge(&mut server, &update).expect("it is merged");
    assert_eq!(server.text(), text_of(&page));
    let boom = insert(&document(3), 0, "BOOM");
    assert_eq!(merge(&mut server, &boom), Err(Refusal::Broken));
    assert_eq!(server.text(), text_of(&page));
}

/// Two panics at once would end the process, and with it all tests.
#[test]
fn a_panic_in_the_commit_after_a_panic_in_the_change_leaves_what_was_merged_before() {
    let (mut server, page) = (Document::new(), document(1));
    let update = insert(&page, 0, "one");
    merge(&mut server, &update).expect("it is merged");
    for is_alone in [true, false] {
        server.midst = if is_alone { |_| {} } else { |_| panic!("planted") };
        let (doc, _) = server.parts();
        // To observe is a transaction too, which is to pass.
        let commits = AtomicUsize::new(0);
        doc.observe_after_transaction("test", move |_| {
            assert_eq!(commits.fetch_add(1, Ordering::Relaxed), 0, "planted in the commit");
        })
        .expect("no transaction is open");
        let update = insert(&document(2), 0, "two");
        assert_eq!(merge(&mut server, &update), Err(Refusal::Broken));
        assert_eq!(server.text(), "one");
    }
    server.midst = |_| {};
    let update = insert(&page, 3, ", two");
    merge(&mut server, &update).expect("it is merged");
    assert_eq!(server.text(), text_of(&page));
}

#[test]
fn a_change_that_is_refused_half_way_is_not_merged_at_all() {
    let (mut server, page) = (Document::new(), document(1));
    let update = insert(&page, 0, "one two");
    merge(&mut server, &update).expect("it is merged");
    let known = server.vector();
    // Between the second character and the first; and before it, one that is as it should be.
    let between =
        [&[1, 2, 9, 0][..], &[0xC4, 1, 0, 1, 1, 1, b'a'], &[0xC4, 1, 3, 1, 2, 1, b'b', 0]];
    let why = merge(&mut server, &between.concat()).expect_err("it is refused");
    assert_eq!(why, Refusal::Malformed("an insertion is between what is in another order"));
    assert_eq!((server.text(), server.vector()), ("one two".into(), known));
    let update = insert(&page, 3, ", and");
    merge(&mut server, &update).expect("it is merged");
    assert_eq!(server.text(), text_of(&page));
}

/// The last that a page hears, but for what it is asked.
fn hears(wire: &Wire) -> Vec<Vec<u8>> {
    let updates = wire.reads().into_iter().filter(|frame| frame.first == 0x82);
    updates.map(|frame| frame.payload).filter(|bytes| bytes[0] == UPDATE).collect()
}

fn sends(world: &mut World<Editor>, wire: &Wire, message: Message) {
    wire.sends(binary(message.into_data()));
    world.rests();
}

#[test]
fn the_page_whose_change_breaks_is_closed_and_the_others_go_on_with_one_text() {
    let mut world = World::still(config(), |_| Editor::new(), Editor::arrive);
    world.app.document.midst = |text| assert!(!text.contains("BOOM"), "planted");
    let [ada, bob, eve] = [1, 2, 3].map(|client| (document(client), world.opens()));
    let catch_up = |(doc, wire): &(_, Wire)| {
        hears(wire).iter().for_each(|update| apply(doc, &update[1..]));
    };
    sends(&mut world, &ada.1, framed(UPDATE, &insert(&ada.0, 0, "hello ")));
    catch_up(&bob);
    catch_up(&eve);
    sends(&mut world, &eve.1, framed(UPDATE, &insert(&eve.0, 2, "BOOM")));
    let told = close_in(&eve.1.reads());
    assert_eq!(told, Some((1008, BROKEN.to_owned())));
    sends(&mut world, &bob.1, framed(UPDATE, &insert(&bob.0, 6, "world")));
    catch_up(&ada);
    sends(&mut world, &ada.1, framed(UPDATE, &delete(&ada.0, 0, 1)));
    catch_up(&bob);
    let joined = document(4);
    apply(&joined, &world.app.document.lacking(&StateVector::default()));
    for page in [&ada.0, &bob.0, &joined] {
        assert_eq!(
            (text_of(page), world.app.document.text()),
            ("ello world".into(), "ello world".into())
        );
    }
    assert_eq!(world.counters().handler_panics, 0);
    // What it sent is its own still, and is refused again if it comes back with it.
    let again = world.opens();
    let known = world.app.document.vector();
    let known = super::update::state_vector(&known).expect("it is one");
    let rest = eve.0.transact().encode_diff_v1(&known);
    sends(&mut world, &again, framed(UPDATE, &rest));
    assert_eq!(close_in(&again.reads()), Some((1008, BROKEN.to_owned())));
    assert!(!state(&eve.0).is_empty());
}
