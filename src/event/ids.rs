//! The names of connections and of their requests.

use std::fmt;

/// Names one connection, for as long as the server lives.
///
/// Slots are reused, ids are not: an id whose connection is gone is answered with an error and does
/// not reach a later connection. (It could come again after 2³² connections.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) index: u32,
    /// Guards against reuse of the index. Connections have 1 and up, [`u32::MAX`] excluded.
    pub(crate) generation: u32,
}

impl ConnId {
    /// The id as one number, for logs and for tables of your own.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`to_bits`](Self::to_bits).
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index, self.generation)
    }
}

/// Names one HTTP request, for as long as the server lives.
///
/// A connection can bring many requests, one after the other (RFC 9112 §9.3). An answer for one that
/// was answered, timed out or is gone is refused, and does not become the answer to the next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    pub(crate) conn: ConnId,
    /// Which of its connection's requests it is, from 1 on.
    pub(crate) number: u64,
}

impl RequestId {
    /// The connection that it came over. Once the request is accepted, messages are sent to this id.
    pub const fn conn(self) -> ConnId {
        self.conn
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.conn, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_its_bits() {
        let id = ConnId { index: 7, generation: u32::MAX - 1 };
        assert_eq!(ConnId::from_bits(id.to_bits()), id);
        assert_eq!(format!("{id:?}"), "7#4294967294");
    }

    #[test]
    fn requests_are_in_the_order_in_which_they_came() {
        let conn = ConnId { index: 7, generation: 3 };
        let [first, second] = [1, 2].map(|number| RequestId { conn, number });
        assert!(first < second && first.conn() == second.conn());
        assert_eq!(format!("{second:?}"), "7#3/2");
    }
}
