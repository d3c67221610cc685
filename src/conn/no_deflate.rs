//! What stands in for `deflate.rs` without the feature: no connection ever agrees on compression.

use super::commons::Commons;
use crate::wire::{ProtocolError, Request};

#[derive(Debug, Default)]
pub(crate) enum Deflation {
    #[default]
    Off,
}

impl Deflation {
    pub(super) fn negotiate(_: &Request, _: &Commons) -> (Deflation, String) {
        (Deflation::Off, String::new())
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn bytes_max(bytes_max: usize) -> usize {
        bytes_max
    }

    pub(crate) fn takes_shared(&self) -> bool {
        false
    }

    pub(super) fn compress(&mut self, _: &[u8], _: &mut Commons) -> Option<Vec<u8>> {
        None
    }

    pub(crate) fn forget_sent(&mut self) {}

    pub(super) fn forget_received(&mut self, _: &mut Commons) {}

    pub(crate) fn window_bytes(&self) -> usize {
        0
    }

    pub(crate) fn excess(_: &Commons) -> usize {
        0
    }

    pub(super) fn inflate(
        &mut self,
        _: &mut Vec<u8>,
        _: &mut Commons,
    ) -> Result<(Vec<u8>, usize), ProtocolError> {
        Err(ProtocolError::RsvSet)
    }
}

pub(super) fn deflate_frame(frame: &[u8], out: &mut Vec<u8>, _: &mut Commons) {
    out.extend_from_slice(frame);
}
