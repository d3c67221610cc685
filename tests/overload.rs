//! More than the server has room for: peers that do not read, that send halves, that never stop, or
//! that are too many. What it takes then is bounded, and those who behave lose nothing.
//!
//! Real servers on real sockets. In each run a test has hundreds of peers; with `FULL=1` in the
//! environment, and in release mode, thousands.

mod support;

#[path = "overload/connections.rs"]
mod connections;
#[path = "overload/crowd.rs"]
mod crowd;
#[path = "support/echo.rs"]
mod echo;
#[path = "overload/floods.rs"]
mod floods;
#[path = "overload/halves.rs"]
mod halves;
#[path = "overload/processes.rs"]
mod processes;
#[path = "support/sink.rs"]
mod sink;
#[path = "overload/slow.rs"]
mod slow;
#[path = "overload/topics.rs"]
mod topics;
