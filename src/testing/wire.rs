//! One connection of a simulated network, as its peer sees it: what each side has sent and the other has
//! not read, and what the peer's kernel takes.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    fmt, mem,
    net::SocketAddr,
    rc::Rc,
};

use super::frame::{Frame, frames};
use crate::event::ConnId;

/// What a peer's kernel answers to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Take {
    /// It takes so many bytes, and no more in this call.
    Bytes(usize),
    /// It is full; the next wait finds room again.
    Nothing,
}

/// A peer's end of a connection, which does nothing of its own. A copy is the same end.
///
/// ```
/// use pushloop::{Config, Server, testing::Network};
///
/// let mut server = Server::with_net(Network::new(), Config::default());
/// let wire = server.net().connects();
/// wire.sends_bytes("GET / HTTP/1.1\r\n");
/// wire.pauses(); // What follows comes with a read of its own.
/// wire.sends_bytes("\r\n");
/// ```
#[derive(Clone)]
pub struct Wire(Rc<RefCell<Link>>);

/// The server's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Stream(pub(super) Wire);

/// Both ends.
pub(super) struct Link {
    pub id: Option<ConnId>,
    pub peer: Option<SocketAddr>,
    /// To the server, and not read yet.
    pub input: VecDeque<u8>,
    pub input_ended: bool,
    /// How much of the input was read, and how much will have been where a read stops.
    pub taken: u64,
    pub pauses: VecDeque<u64>,
    /// From the server, and not read yet by the peer.
    pub output: VecDeque<u8>,
    pub output_ended: bool,
    /// By FIN, and not only by being dropped.
    pub finished: bool,
    /// How much of the output the peer's kernel holds.
    pub room: usize,
    /// What the next writes meet.
    pub plan: VecDeque<Take>,
    pub reset: bool,
    /// The server has dropped it.
    pub dropped: bool,
    /// It did so with input unread.
    pub cut: bool,
    pub read_edge: bool,
    pub write_edge: bool,
    /// A write took less than it was given.
    pub blocked: bool,
    /// One ever did.
    pub refused: bool,
}

impl Link {
    pub fn is_writable(&self) -> bool {
        self.write_edge || (self.blocked && self.output.len() < self.room)
    }

    /// How much one read brings, at the most.
    pub fn readable(&self) -> usize {
        let until_pause = self.pauses.front().map_or(usize::MAX, |at| (at - self.taken) as usize);
        self.input.len().min(until_pause)
    }

    /// Moves input to the front of `into`.
    pub fn gives(&mut self, into: &mut [u8]) {
        let (front, back) = self.input.as_slices();
        let from_front = front.len().min(into.len());
        into[..from_front].copy_from_slice(&front[..from_front]);
        let from_back = into.len() - from_front;
        into[from_front..].copy_from_slice(&back[..from_back]);
        self.input.drain(..into.len());
        self.taken += into.len() as u64;
        if self.pauses.front() == Some(&self.taken) {
            self.pauses.pop_front();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut link = self.0.link();
        (link.dropped, link.output_ended) = (true, true);
        if !link.input.is_empty() {
            // close(2) resets then, and the peer may lose what it has not read (RFC 1122 §4.2.2.13).
            link.cut = true;
            link.output.clear();
        }
    }
}

impl Wire {
    pub(super) fn new(peer: Option<SocketAddr>) -> Self {
        Self(Rc::new(RefCell::new(Link {
            id: None,
            peer,
            input: VecDeque::new(),
            input_ended: false,
            taken: 0,
            pauses: VecDeque::new(),
            output: VecDeque::new(),
            output_ended: false,
            finished: false,
            room: usize::MAX,
            plan: VecDeque::new(),
            reset: false,
            dropped: false,
            cut: false,
            read_edge: false,
            write_edge: false,
            blocked: false,
            refused: false,
        })))
    }

    pub(super) fn link(&self) -> RefMut<'_, Link> {
        self.0.borrow_mut()
    }

    /// The server's id of the connection, once it was accepted.
    pub fn id(&self) -> Option<ConnId> {
        self.link().id
    }
}

/// What the peer sends.
impl Wire {
    /// Sends a frame, under the mask 1 2 3 4.
    pub fn sends(&self, frame: Frame) {
        self.sends_bytes(frame.masked([1, 2, 3, 4]));
    }

    /// Sends bytes.
    pub fn sends_bytes(&self, bytes: impl AsRef<[u8]>) {
        let mut link = self.link();
        link.input.extend(bytes.as_ref());
        link.read_edge = true;
    }

    /// A read of the server stops behind what was sent so far: what is sent next comes with a further
    /// readiness.
    pub fn pauses(&self) {
        let mut link = self.link();
        let at = link.taken + link.input.len() as u64;
        if !link.input.is_empty() && link.pauses.back() != Some(&at) {
            link.pauses.push_back(at);
        }
    }

    /// Sends FIN, behind what was sent so far.
    pub fn finishes(&self) {
        let mut link = self.link();
        (link.input_ended, link.read_edge) = (true, true);
    }

    /// Sends RST. What either side has not read is lost.
    pub fn resets(&self) {
        let mut link = self.link();
        (link.reset, link.read_edge, link.write_edge) = (true, true, true);
        link.input.clear();
        link.pauses.clear();
        link.output.clear();
    }

    /// How many bytes the server has not read.
    pub fn unread(&self) -> usize {
        self.link().input.len()
    }
}

/// What the peer gets.
impl Wire {
    /// From here on, its kernel holds so many bytes that it has not read; without limit at first.
    pub fn holds(&self, bytes: usize) {
        self.link().room = bytes;
    }

    /// What the next writes meet, in front of what [`holds`](Self::holds) says.
    pub fn takes_next(&self, plan: impl IntoIterator<Item = Take>) {
        self.link().plan.extend(plan);
    }

    /// How much of that was not met yet.
    pub fn plan_left(&self) -> usize {
        self.link().plan.len()
    }

    /// Takes what has come since the last time, up to so many bytes.
    pub fn reads_some(&self, max: usize) -> Vec<u8> {
        let mut link = self.link();
        if max >= link.output.len() {
            return mem::take(&mut link.output).into();
        }
        link.output.drain(..max).collect()
    }

    /// Takes everything that has come since the last time.
    pub fn reads_bytes(&self) -> Vec<u8> {
        self.reads_some(usize::MAX)
    }

    /// Takes the frames that have come since the last time.
    ///
    /// # Panics
    ///
    /// If what has come is no frames, or the last one is cut.
    #[track_caller]
    pub fn reads(&self) -> Vec<Frame> {
        frames(&self.reads_bytes())
    }

    /// How much has come that it has not read.
    pub fn waiting(&self) -> usize {
        self.link().output.len()
    }

    /// The server has sent FIN, or dropped the connection: nothing comes behind what came.
    pub fn is_ended(&self) -> bool {
        self.link().output_ended
    }

    /// The server has sent FIN.
    pub fn is_finished(&self) -> bool {
        self.link().finished
    }

    /// The server has dropped the connection.
    pub fn is_dropped(&self) -> bool {
        self.link().dropped
    }

    /// The server dropped the connection with input unread, and what had not been read by the peer
    /// is lost.
    pub fn is_cut(&self) -> bool {
        self.link().cut
    }

    /// The connection was reset.
    pub fn is_reset(&self) -> bool {
        self.link().reset
    }

    /// A write ever took less than it was given.
    pub fn was_full(&self) -> bool {
        self.link().refused
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = self.link();
        f.debug_struct("Wire")
            .field("id", &link.id)
            .field("unread", &link.input.len())
            .field("waiting", &link.output.len())
            .field("is_ended", &link.output_ended)
            .field("is_reset", &link.reset)
            .finish_non_exhaustive()
    }
}
