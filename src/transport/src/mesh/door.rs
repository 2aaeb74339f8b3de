//! Who is shaking hands with this node, and who gives way when there are too many.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use futures::future::{AbortHandle, AbortRegistration};

/// Handshakes under way that others began, the oldest first.
///
/// A handshake takes milliseconds. Whoever has been at it for longest while others wait is the likeliest to be silent
/// on purpose, so the oldest one gives way: of the same address if that has its share, else of the address that has most.
#[derive(Debug)]
pub(super) struct Door {
    max: usize,
    per_source_max: usize,
    next_number: u64,
    inside: VecDeque<(u64, IpAddr, AbortHandle)>,
}

impl Door {
    pub(super) fn new(max: usize, per_source_max: usize) -> Self {
        Self {
            max,
            per_source_max,
            next_number: 0,
            inside: VecDeque::new(),
        }
    }

    /// Somebody comes in, and somebody else may have to go. Gives the number to leave with.
    pub(super) fn enters(&mut self, from: IpAddr) -> (u64, AbortRegistration) {
        if self.of(from) >= self.per_source_max {
            self.give_way(from);
        } else if self.inside.len() >= self.max
            && let Some(most) = self.busiest()
        {
            self.give_way(most);
        }

        let (handle, registration) = AbortHandle::new_pair();
        let number = self.next_number;
        self.next_number += 1;
        self.inside.push_back((number, from, handle));

        (number, registration)
    }

    /// A handshake is over.
    pub(super) fn left(&mut self, number: u64) {
        self.inside.retain(|(known, ..)| *known != number);
    }

    fn of(&self, from: IpAddr) -> usize {
        self.inside
            .iter()
            .filter(|(_, address, _)| *address == from)
            .count()
    }

    fn busiest(&self) -> Option<IpAddr> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (_, address, _) in &self.inside {
            *counts.entry(*address).or_default() += 1;
        }

        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(address, _)| address)
    }

    fn give_way(&mut self, from: IpAddr) {
        let oldest = self
            .inside
            .iter()
            .position(|(_, address, _)| *address == from);
        if let Some((_, _, handle)) = oldest.and_then(|at| self.inside.remove(at)) {
            handle.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn inside(door: &Door) -> Vec<u64> {
        door.inside.iter().map(|(number, ..)| *number).collect()
    }

    #[test]
    fn the_oldest_of_an_address_gives_way_to_the_next_one() {
        let mut door = Door::new(8, 2);
        let (first, _keep) = door.enters(address(1));
        let handle = door.inside[0].2.clone();

        door.enters(address(1));
        door.enters(address(2));
        assert!(!handle.is_aborted());

        door.enters(address(1));
        assert!(handle.is_aborted());
        assert_eq!((first, inside(&door)), (0, vec![1, 2, 3]));
    }

    #[test]
    fn a_full_door_takes_from_the_address_that_has_most() {
        let mut door = Door::new(3, 3);
        for from in [1, 2, 2] {
            door.enters(address(from));
        }

        door.enters(address(3));
        assert_eq!(inside(&door), [0, 2, 3]);
        door.left(2);
        door.enters(address(4));
        assert_eq!(inside(&door), [0, 3, 4], "room without anybody giving way");
    }
}
