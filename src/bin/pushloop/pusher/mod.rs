//! Pusher's protocol 7: the applications, the names of channels, frames, events and signatures.
//!
//! It knows bytes and JSON, and which topic a channel is. It must not know the hub, requests, connections or clocks:
//! who has said what is `service/pushing.rs`'s, and the HTTP API `service/pushing/api.rs`'s.

mod apps;
mod channel;
mod event;
mod frames;
mod md5;
mod signature;

pub use self::{
    apps::{App, AppFile},
    channel::{CACHES, Kind, NAME_BYTES_MAX, PRESENCES, is_cache, user_channel},
    event::{encode, encode_last, is_own_name, keep, keep_sent},
    frames::{
        ChannelData, Said, error, established, frame, members, read, sign_in_id, subscribed,
        subscription_error,
    },
};

/// Bytes of the name of an event, and of what it says.
pub const EVENT_BYTES_MAX: usize = 200;
pub const DATA_BYTES_MAX: usize = 10 * 1024;
