//! News of the own log on their way to one peer's driver.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;
use trireme_base::{Ended, StreamId};
use trireme_replication::{Event, PositionVector};
use trireme_wire::record::Record;

/// A bounded, never blocking collection of news. Positions replace each other; records are dropped when the driver is too
/// slow, and what is then missing is read from the log.
#[derive(Debug)]
pub struct Feed {
    bytes_max: u64,
    news: Mutex<News>,
    /// How far each stream is applied, also while nobody listens: a link that has lost its connection must learn what was
    /// applied meanwhile, or the room it took would never be given back.
    applied: Mutex<PositionVector>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct News {
    /// Somebody listens.
    active: bool,
    records: VecDeque<Record>,
    record_bytes: u64,
    /// Tails of streams of which records were dropped.
    tails: BTreeMap<StreamId, u64>,
    durable: BTreeMap<StreamId, u64>,
    applied: BTreeMap<StreamId, u64>,
    dropped_records: u64,
}

/// News since the last time.
#[derive(Debug, Default)]
pub struct FeedBatch {
    /// Events for the link, in order.
    pub events: Vec<Event>,
}

impl Feed {
    /// A feed that keeps at most `bytes_max` of records.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            news: Mutex::default(),
            applied: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Begins to collect, from nothing. Whoever calls it reads the store's positions afterwards, so that nothing falls
    /// between.
    pub fn start(&self) {
        *self.news.lock() = News {
            active: true,
            ..News::default()
        };
    }

    /// Ends collecting and lets everything go.
    pub fn stop(&self) {
        *self.news.lock() = News::default();
    }

    /// A record was written to the log. The driver finds it when it next looks: [`Feed::wake`] makes it look.
    pub fn written(&self, record: &Record) {
        self.change(false, |news| {
            let bytes = record.bytes().len() as u64;
            if news.record_bytes + bytes > self.bytes_max {
                // All of them: a rest without its end would have to be read from the log anyway.
                news.drop_records();
                news.tails.insert(record.stream(), record.seq());
                news.dropped_records += 1;
                return;
            }
            news.record_bytes += bytes;
            news.records.push_back(record.clone());
        });
    }

    /// Makes the driver look at the news.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// The log is fsynced up to these positions. `wake` the driver at once, or let it find them when it next looks.
    pub fn durable(&self, positions: &[(StreamId, u64)], wake: bool) {
        self.change(wake, |news| news.durable.extend(positions.iter().copied()));
    }

    /// A stream is applied up to `seq`. Wakes nobody: it gives the peer room for more, which is not urgent before a
    /// quarter of the window is free, and the driver looks here with every turn, at least every 50 ms.
    pub fn applied(&self, stream: StreamId, seq: u64) {
        self.applied.lock().advance(stream, seq);
        self.change(false, |news| {
            // An older position may be told again after a newer one.
            let at = news.applied.entry(stream).or_insert(seq);
            *at = seq.max(*at);
        });
    }

    /// How far each stream is applied.
    pub fn applied_positions(&self) -> PositionVector {
        self.applied.lock().clone()
    }

    /// Streams have ended: nothing of them is kept.
    pub fn end(&self, ended: &Ended) {
        self.applied.lock().end(ended);
        self.change(false, |news| {
            for map in [&mut news.tails, &mut news.durable, &mut news.applied] {
                map.retain(|stream, _| !ended.has(*stream));
            }
        });
    }

    fn change(&self, wake: bool, change: impl FnOnce(&mut News)) {
        let mut news = self.news.lock();
        if news.active {
            change(&mut news);
            drop(news);
            if wake {
                self.changed.notify_one();
            }
        }
    }

    /// Records dropped since collecting began.
    pub fn dropped_records(&self) -> u64 {
        self.news.lock().dropped_records
    }

    /// True if [`Feed::take`] would give something.
    pub fn has_news(&self) -> bool {
        let news = self.news.lock();
        !(news.records.is_empty()
            && news.tails.is_empty()
            && news.durable.is_empty()
            && news.applied.is_empty())
    }

    /// Waits for news and takes them. Cancel safe.
    pub async fn next(&self) -> FeedBatch {
        loop {
            let batch = self.take();
            if !batch.events.is_empty() {
                return batch;
            }
            self.changed.notified().await;
        }
    }

    /// Takes the news there are.
    pub fn take(&self) -> FeedBatch {
        let (records, tails, durable, applied) = {
            let mut news = self.news.lock();
            news.record_bytes = 0;
            (
                std::mem::take(&mut news.records),
                std::mem::take(&mut news.tails),
                std::mem::take(&mut news.durable),
                std::mem::take(&mut news.applied),
            )
        };

        // Tails first: they stand for records that were dropped before those that are here.
        let mut events: Vec<Event> = tails
            .into_iter()
            .map(|(stream, seq)| Event::TailMoved { stream, seq })
            .collect();

        events.extend(runs(records).into_values().flatten().map(Event::Appended));
        events.extend(
            durable
                .into_iter()
                .map(|(stream, seq)| Event::Durable { stream, seq }),
        );

        events.extend(
            applied
                .into_iter()
                .map(|(stream, seq)| Event::Applied { stream, seq }),
        );

        FeedBatch { events }
    }
}

impl News {
    fn drop_records(&mut self) {
        for record in self.records.drain(..) {
            self.dropped_records += 1;
            let tail = self.tails.entry(record.stream()).or_default();
            *tail = record.seq().max(*tail);
        }
        self.record_bytes = 0;
    }
}

/// Sorts records into runs without gaps.
fn runs(records: VecDeque<Record>) -> BTreeMap<StreamId, Vec<Vec<Record>>> {
    let mut by_stream: BTreeMap<StreamId, Vec<Vec<Record>>> = BTreeMap::new();
    for record in records {
        let runs = by_stream.entry(record.stream()).or_default();
        let last = runs.last_mut().filter(|run| {
            run.last()
                .is_some_and(|last| last.seq() + 1 == record.seq())
        });
        match last {
            Some(run) => run.push(record),
            None => runs.push(vec![record]),
        }
    }

    by_stream
}

#[cfg(test)]
mod tests;
