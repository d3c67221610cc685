//! What compressed messages cost in memory.

use std::time::Duration;

use allocation_counter::measure;
use flate2::{Compress, Compression, FlushCompress};
use pushloop::{Config, ConnId, Events};

use super::{Before, IDLE, idle_bytes};
use crate::support::net::{Sim, Wire};
use crate::support::peer_codec::deflate;
use crate::support::{binary, frame, handshake, quiet, text};

/// What clients offer: a window that they keep to, nothing more, each message on its own.
const NARROW: &str = "permessage-deflate; client_max_window_bits=12";
const LIBRARY: &str = "permessage-deflate";
const ALONE: &str = "permessage-deflate; client_no_context_takeover";

fn offering(offer: &str) -> String {
    handshake("/", &format!("Sec-WebSocket-Extensions: {offer}\r\n"))
}

fn opens(sim: &mut Sim) -> (ConnId, Wire) {
    opens_with(sim, LIBRARY)
}

fn opens_with(sim: &mut Sim, offer: &str) -> (ConnId, Wire) {
    let before = sim.hub().counters().upgrades;
    let wire = sim.server.net().connects();
    wire.sends_bytes(offering(offer));
    sim.rests();
    assert_eq!(sim.hub().counters().upgrades, before + 1);
    assert!(String::from_utf8(wire.reads_bytes()).unwrap().contains("permessage-deflate"));
    let told = sim.takes();
    let opened = told.iter().find_map(|told| match told {
        crate::support::net::Told::Opened(id) => Some(*id),
        _ => None,
    });
    (opened.unwrap(), wire)
}

/// 10 MB of zeros in 10 KB. It is refused before it takes more than the limit and 64 KiB.
#[test]
fn a_bomb_takes_no_more_than_the_limit() {
    let bomb = frame(0xC2, deflate(&vec![0; 10_000_000]));
    assert!(bomb.payload.len() < 10_300);
    // To grow, memory is copied, as this counts it: for the longest, the limit is passed by that.
    for (limit, more) in [(1000, 65_536), (65_536, 65_536), (1 << 20, 1 << 20)] {
        let mut sim = Sim::new(quiet(|config| config.message_bytes_max = limit));
        // What all connections share is made once.
        let (_, wire) = opens(&mut sim);
        wire.sends(frame(0xC2, deflate(&vec![0; limit])));
        sim.rests();
        assert_eq!(sim.hub().counters().messages_inflated, 1);
        let (_, wire) = opens(&mut sim);
        wire.sends(bomb.clone());
        let info = measure(|| sim.turn());
        assert_eq!(sim.hub().counters().closed_protocol, 1);
        println!("{info:?}");
        assert!(info.bytes_max <= limit as u64 + more, "{limit}: {info:?}");
        assert!(info.bytes_current < 20 * 1024, "{limit}: {info:?}");
    }
}

/// Six hundred peers with 50 KB each of what inflates to much: what waits for its turn is bounded in
/// the whole process. Of so many, each reads 4 KiB at first.
#[test]
fn what_waits_to_be_inflated_takes_no_more_than_the_limit() {
    const MAX: usize = 400 << 10;
    let mut sim = Sim::new(quiet(|config| config.incomplete_bytes_max = MAX));
    let message = frame(0xC2, deflate(&[0; 64 * 1024])).masked([1, 2, 3, 4]);
    let flood = message.repeat(50_000 / message.len());
    let (peers, mut turns) = (600, 0);
    let wires: Vec<_> = (0..peers).map(|_| opens_with(&mut sim, ALONE).1).collect();
    wires.iter().for_each(|wire| wire.sends_bytes(&flood));
    let info = measure(|| {
        while turns < 700 {
            sim.turn();
            sim.takes();
            turns += 1;
        }
    });
    let shed = sim.hub().counters().closed_incomplete as usize;
    assert!(shed > peers - 150, "{shed} are closed");
    // And 4 MiB of buffers that are kept to be used again.
    let most = MAX + (4 << 20);
    assert!(most < peers * flood.len() * 2 / 3);
    assert!(info.bytes_max as usize <= most, "{info:?}");
}

/// Nine thousand messages of nothing, in one read.
#[test]
fn a_message_takes_no_more_than_it_says() {
    let empty: Vec<u8> = (0..9000).flat_map(|_| frame(0xC2, [0]).masked([1; 4])).collect();
    let mut sim = Sim::new(quiet(|_| {}));
    let (_, wire) = opens(&mut sim);
    wire.sends(frame(0xC2, [0]));
    sim.rests();
    wire.sends_bytes(&empty);
    let mut events = Events::default();
    let info = measure(|| {
        while sim.server.hub().counters().messages_inflated < 9001 {
            sim.server.poll(&mut events, Some(Duration::ZERO)).unwrap();
        }
    });
    // The batch's buffer, and for each message what it is and where.
    println!("{info:?}");
    assert!(info.bytes_max < (256 << 10) + 9000 * 3 * (32 + 24), "{info:?}");
}

/// Each stream of a message may refer back to 32 KiB, which are not to be copied to the heap first.
#[test]
fn a_message_of_a_thousand_streams_allocates_next_to_nothing() {
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = true));
    let (_, wire) = opens(&mut sim);
    // A final block with nothing in it, a thousand times.
    let streams = frame(0xC2, [[0x03, 0x00].repeat(1000), vec![0]].concat());
    for message in [frame(0xC2, deflate(&[b'x'; 40_000])), streams.clone()] {
        wire.sends(message);
        sim.rests();
    }
    wire.sends(streams);
    let info = measure(|| sim.turn());
    assert_eq!(sim.hub().counters().messages_inflated, 3);
    assert!(info.count_total < 10 && info.bytes_total < 20_000, "{info:?}");
}

/// Traffic in both directions, of every size.
fn chats(sim: &mut Sim, id: ConnId, wire: &Wire) {
    let mut stream = Compress::new(Compression::default(), false);
    let mut numbers = 7_u32;
    for round in 0..60 {
        let size = [10, 100, 3000, 9000, 20_000][round % 5];
        let message: Vec<u8> = (0..size)
            .map(|at| {
                numbers = numbers.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at % 3 == 0 { (numbers >> 24) as u8 } else { b'x' }
            })
            .collect();
        let mut out = Vec::with_capacity(30_000);
        stream.compress_vec(&message, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        wire.sends(frame(0xC2, out));
        sim.hub().send(id, &message).unwrap();
        sim.rests();
        wire.reads_bytes();
        sim.takes();
    }
}

/// Bytes that each of some connections keeps of its traffic, once it is idle.
fn kept(limits: Config, offer: &str, many: usize, chats: impl Fn(&mut Sim, ConnId, &Wire)) -> i64 {
    let mut sim = Sim::new(limits);
    let mut open = || {
        let (id, wire) = opens_with(&mut sim, offer);
        // The network's own buffers are large from the beginning.
        wire.sends(binary([0; 60_000]));
        sim.rests();
        sim.takes();
        (id, wire)
    };
    let (warm, all) = (open(), (0..many).map(|_| open()).collect::<Vec<_>>());
    // What all connections share, and the spare buffers.
    (0..5).for_each(|_| chats(&mut sim, warm.0, &warm.1));
    let info = measure(|| all.iter().for_each(|(id, wire)| chats(&mut sim, *id, wire)));
    println!("{info:?}");
    assert_eq!(info.bytes_current % many as i64, 0, "each keeps the same");
    info.bytes_current / many as i64
}

/// 32 KiB of what came, and 8 KiB of what went.
#[test]
fn context_takeover_keeps_40_kib_for_a_connection() {
    let limits = quiet(|config| config.deflate_context_takeover = true);
    let kept = kept(limits, LIBRARY, 20, chats);
    assert!((39 << 10..=(40 << 10) + 2048).contains(&kept), "{kept}");
}

/// Of a thousand connections each: what the next message may refer back to, and where that is.
#[test]
fn of_a_client_that_compresses_its_window_is_kept_and_of_others_nothing() {
    let messages = [100, 3000, 40_000].map(|size| frame(0xC2, deflate(&vec![b'x'; size])));
    let compresses = |sim: &mut Sim, _, wire: &Wire| {
        for message in &messages {
            wire.sends(message.clone());
            sim.rests();
            sim.takes();
        }
    };
    let is_sent_compressed = |sim: &mut Sim, id, wire: &Wire| {
        wire.sends(binary([b'x'; 3000]));
        sim.hub().send(id, [b'x'; 3000]).unwrap();
        sim.rests();
        assert_eq!(wire.reads()[0].first, 0xC2);
        sim.takes();
    };
    let kept = |offer, chats: &dyn Fn(&mut Sim, ConnId, &Wire)| {
        kept(quiet(|_| {}), offer, 1000, chats) as usize
    };
    let place = 2 * size_of::<Vec<u8>>();
    assert_eq!(kept(NARROW, &compresses), 4096 + place);
    assert_eq!(kept(LIBRARY, &compresses), 32_768 + place);
    assert_eq!(kept(ALONE, &compresses), 0);
    assert_eq!(kept(LIBRARY, &is_sent_compressed), 0);
}

/// Ten thousand of them, none of which has compressed, own no more than those that never heard of
/// compression may.
#[test]
fn an_idle_connection_with_compression_owns_at_most_256_bytes() {
    let before = Before { handshake: offering(LIBRARY), says: text([b'x'; 300]), answer: 0xC1 };
    let name = "deflated::an_idle_connection_with_compression_owns_at_most_256_bytes";
    if let Some(bytes) = idle_bytes(name, &before) {
        // The compressor and its window are one for all.
        let shared = 512 * 1024;
        assert!(bytes <= 256 * IDLE + shared, "{} bytes for each", bytes.div_ceil(IDLE));
    }
}
