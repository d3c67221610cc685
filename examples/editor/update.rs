//! What of Yjs's wire format (lib0, version 1) is let in: insertions of plain text, and deletions.
//!
//! yrs trusts those whom it talks to: four bytes that announce millions of clients have it allocate
//! hundreds of megabytes, and an update that overlaps with what is there, or contradicts itself, may
//! make it panic, or worse. What passes here begins where the document ends, refers to nothing that
//! is not there, and has nothing in it but text.

use std::collections::{HashMap, VecDeque};

use yrs::{
    StateVector,
    block::ClientID,
    encoding::read::{Cursor, Error as Cut, Read},
};

/// The name of the one text in the document.
pub const TEXT: &str = "text";
/// Of one client: so many characters, deleted ones too.
const CLOCK_MAX: u32 = 1 << 24;
/// Clients are numbers that JavaScript can hold.
const CLIENT_MAX: u64 = (1 << 53) - 1;

/// Why an update is not applied.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// It does not begin where the document ends, or refers to what is not there: the peer that sent
    /// it is to hear what is there, and to send what is missing.
    OutOfStep,
    /// It never was an update of a text.
    Malformed(&'static str),
    /// It costs more than may be done for its sender.
    TooMuch,
    /// yrs panicked over it: nothing of it was done.
    Broken,
}

pub use Refusal::{Broken, Malformed, OutOfStep, TooMuch};

pub fn malformed(why: &'static str) -> Refusal {
    Malformed(why)
}

impl From<Cut> for Refusal {
    fn from(_: Cut) -> Self {
        Malformed("an update is cut off or malformed")
    }
}

/// The state vector in a message. yrs would make room for as many clients as it announces.
pub fn state_vector(bytes: &[u8]) -> Result<StateVector, Refusal> {
    let mut wire = Cursor::new(bytes);
    let mut vector = StateVector::default();
    for _ in 0..wire.read_var::<u32>()? {
        let (client, clock) = read_id(&mut wire)?;
        vector.set_max(ClientID::new(client), clock);
    }
    if wire.has_content() { Err(Malformed("a state vector is too long")) } else { Ok(vector) }
}

/// An insertion, or what is left of one that was deleted.
pub struct Item {
    pub id: Id,
    /// In UTF-16 code units, as all lengths.
    pub len: u32,
    pub left: Option<Id>,
    pub right: Option<Id>,
    pub is_deleted: bool,
}

/// What is in an update.
#[derive(Default)]
pub struct Parts {
    /// The insertions of each client, in their order.
    pub items: Vec<(u64, VecDeque<Item>)>,
    pub deletions: Vec<(Id, u32)>,
    /// How much text there is in the insertions.
    pub inserted: usize,
}

/// Checks an update against the document, and takes it apart.
pub fn check(bytes: &[u8], known: &StateVector) -> Result<Parts, Refusal> {
    let known = |client| known.get(&ClientID::new(client));
    let mut wire = Cursor::new(bytes);
    let mut parts = Parts::default();
    let mut ends = HashMap::new();

    let clients: u32 = wire.read_var()?;
    for _ in 0..clients {
        let count: u32 = wire.read_var()?;
        let (client, mut clock) = read_id(&mut wire)?;
        if clock != known(client) {
            return Err(OutOfStep);
        }
        let mut items = VecDeque::new();
        for _ in 0..count {
            let item = read_item(&mut wire, (client, clock))?;
            let [left, right] = [item.left, item.right];
            if [left, right].iter().flatten().any(|id| id.0 == client && id.1 >= clock) {
                return Err(Malformed("an insertion is beside itself"));
            }
            parts.inserted += if item.is_deleted { 0 } else { item.len as usize };
            clock = advance(clock, item.len)?;
            items.push_back(item);
        }
        if ends.insert(client, clock).is_some() {
            return Err(Malformed("a client is there twice"));
        }
        parts.items.push((client, items));
    }
    for _ in 0..wire.read_var::<u32>()? {
        let client = read_client(&mut wire)?;
        for _ in 0..wire.read_var::<u32>()? {
            let (clock, len) = (wire.read_var()?, wire.read_var()?);
            advance(clock, len)?;
            parts.deletions.push(((client, clock), len));
        }
    }
    let there = |(client, clock)| clock < *ends.get(&client).unwrap_or(&known(client));
    let beside = parts
        .items
        .iter()
        .flat_map(|(_, items)| items)
        .flat_map(|item| [item.left, item.right])
        .flatten();
    let deleted = parts.deletions.iter().map(|((client, clock), len)| (*client, clock + len - 1));
    if wire.has_content() {
        Err(Malformed("an update is too long"))
    } else if !beside.chain(deleted).all(there) {
        Err(OutOfStep)
    } else {
        Ok(parts)
    }
}

/// A character: the client that inserted it, and how many that client had inserted before it.
pub type Id = (u64, u32);

fn read_client(wire: &mut Cursor<'_>) -> Result<u64, Refusal> {
    let client = Some(wire.read_var()?).filter(|client| *client <= CLIENT_MAX);
    client.ok_or(Malformed("a client's number is too large"))
}

fn read_id(wire: &mut Cursor<'_>) -> Result<Id, Refusal> {
    Ok((read_client(wire)?, wire.read_var()?))
}

fn read_item(wire: &mut Cursor<'_>, id: Id) -> Result<Item, Refusal> {
    let info = wire.read_u8()?;
    let left = if info & 0x80 == 0 { None } else { Some(read_id(wire)?) };
    let right = if info & 0x40 == 0 { None } else { Some(read_id(wire)?) };
    let named = left.or(right).is_none() && [1, 4].contains(&info);
    if named && (wire.read_var::<u32>()? != 1 || wire.read_buf()? != TEXT.as_bytes()) {
        return Err(Malformed("an update is not of the text"));
    }
    let (len, is_deleted) = match info & !0xC0 {
        // Deleted.
        1 => (wire.read_var()?, true),
        // Text.
        4 => {
            let text = str::from_utf8(wire.read_buf()?);
            let text = text.map_err(|_| Malformed("a text is not UTF-8"))?;
            // Pages would not show these, or not as they are: a text area has but one end of a line.
            if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
                return Err(Malformed("a text has control characters"));
            }
            (text.chars().map(|c| c.len_utf16() as u32).sum(), false)
        }
        // A gap: Yjs sends with it what it keeps until it has heard what comes before.
        10 => return Err(OutOfStep),
        _ => return Err(Malformed("an update inserts what is no text")),
    };
    Ok(Item { id, len, left, right, is_deleted })
}

fn advance(clock: u32, len: u32) -> Result<u32, Refusal> {
    let end = clock.checked_add(len).filter(|end| len > 0 && *end <= CLOCK_MAX);
    end.ok_or(Malformed("a length is 0 or too large"))
}
