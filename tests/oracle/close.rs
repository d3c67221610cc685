//! Close frames (RFC 6455 §5.5.1, §7.4, and the IANA registry of close codes).

/// Whether a peer may put this code into a Close frame.
///
/// §7.4.2: 0-999 are not used; 1000-2999 are for the protocol, and only registered ones have a
/// meaning; 3000-3999 are for libraries and 4000-4999 for applications. §7.4.1: 1004 is reserved,
/// and 1005, 1006 and 1015 MUST NOT be set in a Close frame. 1012, 1013 and 1014 were registered
/// after the RFC.
pub fn may_be_received(code: u16) -> bool {
    let registered = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    registered.contains(&code) || (3000..5000).contains(&code)
}

/// Whether a server may: §7.4.1 has clients alone send 1010.
pub fn may_be_sent(code: u16) -> bool {
    code != 1010 && may_be_received(code)
}

/// What the payload of a received Close frame says: its code and reason, if it has any, or else
/// the code to fail the connection with.
pub fn received(payload: &[u8]) -> Result<Option<(u16, Vec<u8>)>, u16> {
    if payload.is_empty() {
        return Ok(None);
    }
    // §5.5.1: if there is a body, the first two bytes of it MUST be an unsigned integer.
    if payload.len() == 1 {
        return Err(1002);
    }
    let code = u16::from(payload[0]) * 256 + u16::from(payload[1]);
    let reason = payload[2..].to_vec();
    if !may_be_received(code) {
        return Err(1002);
    }
    // §5.5.1: the reason is UTF-8; §8.1: what is not fails the connection, §7.4.1: with 1007.
    if String::from_utf8(reason.clone()).is_err() {
        return Err(1007);
    }
    Ok(Some((code, reason)))
}
