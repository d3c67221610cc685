//! The room of lists that were long once.

/// Gives back room of which less than a quarter is used, unless it is what four times `kept` entries
/// take. Entries that come and go move the list now and then only.
pub(super) fn give_back<T>(list: &mut Vec<T>, kept: usize) {
    if list.capacity() > 4 * list.len().max(kept) {
        list.shrink_to(2 * list.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_room_back_when_it_uses_less_than_a_quarter() {
        // Entries, the room that they have, for how many room is kept, and what they keep of it.
        let lists = [
            (300, 1200, 256, 1200),
            (300, 1201, 256, 600),
            (0, 1024, 256, 1024),
            (100, 1025, 256, 200),
            (0, 16, 4, 16),
            (0, 17, 4, 0),
            (0, 1, 0, 0),
        ];
        for (len, room, kept_min, kept) in lists {
            let mut list = Vec::with_capacity(room);
            list.resize(len, 0_u8);
            give_back(&mut list, kept_min);
            assert_eq!((list.len(), list.capacity()), (len, kept), "of {room}");
        }
    }
}
