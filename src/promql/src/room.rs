//! Memory that all queries of a node share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::QueryError;

/// Samples that all queries of a node may hold in memory together.
#[derive(Debug)]
pub struct Room {
    taken: AtomicUsize,
    samples_max: usize,
}

impl Room {
    /// Room for `samples_max` samples; 0 means no bound.
    pub fn new(samples_max: usize) -> Self {
        let samples_max = if samples_max == 0 {
            usize::MAX
        } else {
            samples_max
        };
        Self {
            taken: AtomicUsize::new(0),
            samples_max,
        }
    }

    /// Samples for which room is taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes room for `samples` more; false if there is none.
    pub(crate) fn take(&self, samples: usize) -> bool {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken: usize| {
                taken
                    .checked_add(samples)
                    .filter(|taken| *taken <= self.samples_max)
            })
            .is_ok()
    }

    pub(crate) fn give_back(&self, samples: usize) {
        self.taken.fetch_sub(samples, Ordering::Relaxed);
    }
}

/// Room that is taken bit by bit and given back together, when this is dropped.
#[derive(Debug, Default)]
pub struct TakenRoom {
    room: OnceLock<Arc<Room>>,
    samples: AtomicUsize,
}

impl TakenRoom {
    /// Takes room for `samples` more; answers for how many it has some now. `room` is the same for all calls.
    pub fn more(&self, room: &Arc<Room>, samples: usize) -> Result<usize, QueryError> {
        let room = self.room.get_or_init(|| Arc::clone(room));
        if !room.take(samples) {
            return Err(QueryError::NodeFull);
        }
        Ok(self.samples.fetch_add(samples, Ordering::Relaxed) + samples)
    }
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        if let Some(room) = self.room.get() {
            room.give_back(*self.samples.get_mut());
        }
    }
}

impl Default for Room {
    /// Without a bound.
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::Labels;

    use super::*;
    use crate::promqltest::MemoryStorage;
    use crate::{Cancel, Engine, EngineOptions, ParserOptions, QueryOptions, Select, parse};

    /// 200 series with 1,000 samples each.
    fn storage() -> MemoryStorage {
        let mut storage = MemoryStorage::default();
        for i in 0..200 {
            let labels = Labels::from_pairs([("__name__", "m"), ("i", i.to_string().as_str())]);
            (0..1_000).for_each(|t| storage.append_float(&labels, t * 1_000, 1.0));
        }
        storage
    }

    /// The most samples that the query held.
    fn ask(engine: &Engine, storage: &dyn Select, query: &str) -> Result<u64, QueryError> {
        let expr = parse(query, &ParserOptions::default()).expect("well formed");
        let options = QueryOptions::default();
        let cancel = Cancel::never();
        let result = engine.range(
            storage,
            &expr,
            query,
            (0, 999_000),
            1_000,
            &options,
            &cancel,
        )?;

        Ok(result.stats.peak_samples)
    }

    #[test]
    fn what_was_taken_bit_by_bit_is_given_back_together() {
        let room = Arc::new(Room::new(100));
        let one = TakenRoom::default();
        let other = TakenRoom::default();
        assert_eq!((one.more(&room, 40), one.more(&room, 20)), (Ok(40), Ok(60)));
        assert_eq!(other.more(&room, 41), Err(QueryError::NodeFull));
        drop(one);
        assert_eq!((other.more(&room, 41), room.taken()), (Ok(41), 41));
    }

    #[test]
    fn queries_share_room_and_give_it_back() {
        let storage = storage();
        let room = Arc::new(Room::new(400_000));
        let engine = Engine::within(EngineOptions::default(), Arc::clone(&room));
        let peak = ask(&engine, &storage, "m").expect("there is room");
        assert!(peak >= 200_000, "{peak} samples");

        assert_eq!(room.taken(), 0);

        // Another query holds most of it.
        assert!(room.take(300_000));
        assert_eq!(ask(&engine, &storage, "m"), Err(QueryError::NodeFull));
        assert_eq!(room.taken(), 300_000, "what fails gives back what it took");
        ask(&engine, &storage, "sum(m)").expect("a small one works beside it");
        room.give_back(300_000);
        ask(&engine, &storage, "m").expect("there is room again");
    }

    #[test]
    fn room_without_a_bound_is_never_full() {
        let room = Room::default();
        assert!(room.take(1 << 60) && room.take(1 << 60));
        room.give_back(2 << 60);
        assert_eq!(room.taken(), 0);
    }
}
