//! What is added to the estimate of what is incomplete.

use std::sync::Arc;

use super::*;
use crate::config::Config;

/// All connections are gone through when the estimate passes the limit.
#[test]
fn only_what_is_kept_is_added_to_the_estimate() {
    let mut commons = Commons::new(Config::default(), Arc::default());
    let mut connection = Connection::new(None, false, &commons);
    connection.note_incomplete(100, &mut commons);
    assert_eq!(commons.incomplete_bytes, 0, "nothing has come");
    connection.take_over(b"GET / HTTP/1.1".to_vec(), &mut commons);
    assert_eq!(commons.incomplete_bytes, 14);

    let deadline = commons.now;
    connection.state =
        State::Closing { partial: None, cause: Cause::Aborted, written: 0, deadline };
    connection.note_incomplete(100, &mut commons);
    assert_eq!(commons.incomplete_bytes, 14, "what came was whole");
}
