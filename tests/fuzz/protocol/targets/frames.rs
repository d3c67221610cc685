//! A header and what comes before all of it is there, in every state of a receiver. The first byte
//! of the input is the state.

use crate::oracle::frames::{Length, RECEIVERS, broken_rule, length};
use pushloop::internals::{Expect, Header};

pub fn run(data: &[u8]) {
    let [state, input @ ..] = data else { return };
    let receiver = RECEIVERS[usize::from(*state) % RECEIVERS.len()];
    let expect = Expect { message_open: receiver.open.is_some(), rsv1: receiver.deflate };
    let decoded = Header::decode(input, expect);
    let [first, second, after @ ..] = input else {
        assert_eq!(decoded, Ok(None));
        return;
    };
    let length = length(*second, after);
    if broken_rule(*first, *second, receiver).is_some() || length == Length::Broken {
        let error = decoded.expect_err("a rule is broken");
        assert_eq!(error.close_code().get(), 1002);
        return;
    }
    let decoded = decoded.expect("no rule is broken");
    let Length::Is(len, size) = length else {
        assert_eq!(decoded, None);
        return;
    };
    let Some(mask) = after.get(size..size + 4) else {
        assert_eq!(decoded, None);
        return;
    };
    let (header, header_len) = decoded.expect("the header is whole");
    assert_eq!(header_len, 2 + size + 4);
    assert_eq!((header.payload_len, &header.mask[..]), (len, mask));
    let first_again = u8::from(header.fin) << 7 | u8::from(header.rsv1) << 6 | header.opcode as u8;
    assert_eq!(first_again, *first);
}
