//! How a topic of the broker's begins in the hub.

use std::time::Duration;

use pushloop::{Hub, Position, RestoreError};

use crate::broker::link::{Place, millis_since_1970};

/// Begins the topic in the hub with what is kept, as far back as nothing is missing.
pub(super) fn restore(hub: &mut Hub, name: &str, place: &Place) -> Result<(), RestoreError> {
    if hub.position(name).is_some() && !hub.forget_topic(name) {
        return Err(RestoreError::Alive);
    }
    let Position { epoch, offset } = place.position;
    let backwards = place.kept.iter().rev().zip((0..=offset).rev());
    let whole = backwards.take_while(|((at, _), expected)| at == expected).count();
    let kept = &place.kept[place.kept.len() - whole..];
    let now = hub.wall_clock().map_or(0, millis_since_1970);
    let publications: Vec<_> = kept
        .iter()
        .map(|(_, record)| {
            let age = Duration::from_millis(now.saturating_sub(record.made_at));
            (record.message(), age)
        })
        .collect();
    let first = Position { epoch, offset: offset - whole as u64 };
    match hub.restore_topic(name, first, &publications) {
        Err(RestoreError::HistoryFull) => hub.restore_topic(name, place.position, &[]).map(|_| ()),
        restored => restored.map(|_| ()),
    }
}
