//! Answers of a replica that lags: from one that does not, or else the union of what all replicas have.
//!
//! Samples are a set, so the union of what the replicas hold is right wherever one of them has the sample. If one of
//! those that answered is complete, so is the union; otherwise the answer carries a warning, or is an error if the caller
//! wants all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prost::Message;
use trireme_base::ErrorKind;
use trireme_model::Labels;
use trireme_promql::{
    Cancel, Columns, QueryResult, Select, SelectError, SelectRequest, SeriesRead, SeriesSet, parse,
};

use super::codec::{self, BadMessage};
use super::message::{self, What};
use super::{GroupQueries, Question, SHARD_TIMEOUT, incomplete};
use trireme_query::United;
use trireme_query::{Dedup, Found, QueryContext, QueryError, ReadIndex, Selection};

/// Bytes that one sample of the bounds stands for.
const SAMPLE_BYTES: usize = 16;

/// What peers found, and whether one of them has everything.
struct Elsewhere {
    answers: Vec<message::Answer>,
    complete: bool,
}

pub(super) fn labels_in(answer: message::Answer) -> Result<Vec<Labels>, BadMessage> {
    answer.rows.iter().map(codec::series_labels_in).collect()
}

pub(super) fn texts_in(answer: message::Answer) -> Result<Vec<String>, BadMessage> {
    Ok(answer.texts)
}

impl GroupQueries {
    /// The whole query on a replica that does not lag. If there is none, over the union, with a warning.
    pub(super) fn elsewhere(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        read_index: &ReadIndex,
    ) -> Result<QueryResult, QueryError> {
        let expr = parse(q.text, &self.parser).map_err(|e| QueryError::invalid(e.to_string()))?;
        let mut peers = if read_index.known {
            self.replicas.connected()
        } else {
            Vec::new()
        };

        // By turns, or one peer would evaluate everything that this replica cannot.
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % peers.len().max(1);
        peers.rotate_left(first);

        for peer in peers {
            let request = message::Request {
                question: Some(message::Question::Query(
                    q.message(context, &read_index.positions),
                )),
            };

            let (_asked, answers) = self.ask(
                std::slice::from_ref(&peer),
                |_| request.clone(),
                SHARD_TIMEOUT,
            );

            let Some(answer) =
                self.next(&answers, self.clock.monotonic() + SHARD_TIMEOUT, context)?
            else {
                continue;
            };

            let body = match answer.body {
                Ok(body) => body,
                Err(refusal) => match refusal.into_final() {
                    // It would be the same over the union of all replicas, at the highest price of all.
                    Some(error) => return Err(error),
                    None => continue,
                },
            };

            let answer = message::Answer::decode(body).ok();
            if answer.as_ref().is_some_and(|answer| answer.too_large) {
                // So would be that of each other replica.
                break;
            }
            if let Some(result) = answer.and_then(|a| codec::whole_in(a).ok()) {
                return Ok(result);
            }
        }

        Ok(q.evaluate(
            &self.engine,
            &self.union(context, read_index),
            &expr,
            context,
        )?)
    }

    /// The series of all replicas, those of HA pairs made one after samples were united.
    fn union<'a>(&'a self, context: &QueryContext, read_index: &'a ReadIndex) -> Dedup<Union<'a>> {
        let raw = QueryContext {
            replica_labels: Vec::new(),
            ..context.clone()
        };
        Dedup::new(
            Union {
                of_group: self,
                context: raw,
                read_index,
            },
            context.replica_labels.clone(),
        )
    }

    /// For questions that are not divided: what the group has, if this replica does not have all of it.
    pub(super) fn lacking(
        &self,
        context: &QueryContext,
    ) -> Result<Option<Arc<ReadIndex>>, QueryError> {
        if self.is_alone(context) {
            return Ok(None);
        }
        Ok(Some(self.read_index(context)?).filter(|read_index| !read_index.complete))
    }

    /// Raw series of all replicas.
    pub(super) fn select_union(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
        read_index: &ReadIndex,
    ) -> Result<SeriesSet, QueryError> {
        Ok(self
            .union(context, read_index)
            .select(request, &context.cancel)?)
    }

    /// Items of this replica and, if it lags, of the others.
    pub(super) fn found<T: Ord>(
        &self,
        context: &QueryContext,
        selection: &Selection,
        (what, name): (What, &str),
        own: impl FnOnce(&QueryContext) -> Result<Found<T>, QueryError>,
        read: impl Fn(message::Answer) -> Result<Vec<T>, BadMessage>,
    ) -> Result<Found<T>, QueryError> {
        let read_index = self.lacking(context)?;
        let mut found = own(context)?;
        let Some(read_index) = read_index else {
            return Ok(found);
        };

        let find = codec::items_out(what, name, selection, context);
        let elsewhere = self.find(context, find, &read_index)?;

        let mut items: BTreeSet<T> = found.items.into_iter().collect();
        for answer in elsewhere.answers {
            // What cannot be read was sent by another version: as if that replica had not answered.
            items.extend(read(answer).unwrap_or_default());
        }

        found.items = items.into_iter().collect();
        if !elsewhere.complete {
            found.warnings.extend(incomplete(context)?);
        }

        Ok(found)
    }

    /// Counts the samples of an answer, which stay until the query ends: among those of the query, and of the node.
    pub(super) fn hold(
        &self,
        context: &QueryContext,
        answer: &message::Answer,
    ) -> Result<(), QueryError> {
        let of_histograms = |row: &message::Row| {
            row.histograms
                .iter()
                .map(|h| 1 + h.encoded_len() / SAMPLE_BYTES)
                .sum::<usize>()
        };

        let samples = answer
            .rows
            .iter()
            .map(|row| row.at.len() + of_histograms(row))
            .sum();

        let of_query = Some(context.samples_max)
            .filter(|max| *max > 0)
            .unwrap_or(usize::MAX);
        if context.gathered.more(self.engine.room(), samples)? > self.samples_max.min(of_query) {
            let why = "query processing would load too many samples of other nodes into memory";
            return Err(QueryError::new(ErrorKind::Limited, why));
        }

        Ok(())
    }

    /// Asks all connected peers for what they have.
    fn find(
        &self,
        context: &QueryContext,
        find: message::Find,
        read_index: &ReadIndex,
    ) -> Result<Elsewhere, QueryError> {
        let find = message::Find {
            tenant: context.tenant.as_str().to_owned(),
            positions: codec::positions_out(&read_index.positions),
            ..find
        };

        let request = message::Request {
            question: Some(message::Question::Find(find)),
        };
        let peers = self.replicas.connected();
        let (asked, answers) = self.ask(&peers, |_| request.clone(), SHARD_TIMEOUT);
        let until = self.clock.monotonic() + SHARD_TIMEOUT;
        let mut found = Elsewhere {
            answers: Vec::new(),
            complete: false,
        };

        for _ in &peers {
            let Some(answer) = self.next(&answers, until, context)? else {
                break;
            };

            let answer = answer
                .body
                .ok()
                .and_then(|body| message::Answer::decode(body).ok());

            if let Some(answer) = answer {
                // Positions that no quorum has told say nothing about completeness.
                found.complete |= read_index.known && answer.complete;
                self.hold(context, &answer)?;
                found.answers.push(answer);
            }
        }

        drop(asked);
        Ok(found)
    }
}

/// This replica and all connected peers as one storage.
struct Union<'a> {
    of_group: &'a GroupQueries,
    context: QueryContext,
    read_index: &'a ReadIndex,
}

impl Union<'_> {
    fn all(&self, request: &SelectRequest) -> Result<SeriesSet, QueryError> {
        let own = self.of_group.inner.select(&self.context, request)?;
        let find = codec::samples_out(request);
        let elsewhere = self.of_group.find(&self.context, find, self.read_index)?;
        let mut warnings = own.warnings;
        let rows = elsewhere.answers.into_iter().flat_map(|answer| answer.rows);

        let (series, is_readable) = unite(own.series, rows);
        if !elsewhere.complete || !is_readable {
            warnings.extend(incomplete(&self.context)?);
        }

        Ok(SeriesSet { series, warnings })
    }
}

/// The series of this node and of others, each once, by labels. False if something of the others cannot be read.
pub(super) fn unite(
    own: Vec<Box<dyn SeriesRead>>,
    others: impl Iterator<Item = message::Row>,
) -> (Vec<Box<dyn SeriesRead>>, bool) {
    let mut by_labels: BTreeMap<Labels, Vec<Box<dyn SeriesRead>>> = BTreeMap::new();
    for series in own {
        by_labels
            .entry(series.labels().clone())
            .or_default()
            .push(series);
    }

    let mut is_readable = true;
    for row in others {
        match codec::columns_in(row) {
            Ok((labels, columns)) => {
                let held = Box::new(Held {
                    labels: labels.clone(),
                    columns,
                });
                by_labels.entry(labels).or_default().push(held);
            }
            Err(_) => is_readable = false,
        }
    }

    (
        by_labels
            .into_iter()
            .map(
                |(labels, mut parts): (Labels, Vec<Box<dyn SeriesRead>>)| match parts.len() {
                    1 => parts.swap_remove(0),
                    _ => Box::new(United { labels, parts }) as Box<dyn SeriesRead>,
                },
            )
            .collect(),
        is_readable,
    )
}

impl Select for Union<'_> {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        self.all(request).map_err(SelectError::from)
    }
}

/// A series that came from a peer.
struct Held {
    labels: Labels,
    columns: Columns,
}

impl SeriesRead for Held {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let c = &self.columns;
        for (i, t) in c
            .float_t
            .iter()
            .enumerate()
            .filter(|(_, t)| (start_ms..=end_ms).contains(*t))
        {
            out.push_float_st(*t, c.float_st.get(i).copied().unwrap_or(0), c.float_v[i]);
        }

        out.histograms.extend(
            c.histograms
                .iter()
                .filter(|p| (start_ms..=end_ms).contains(&p.t))
                .cloned(),
        );

        out.check_within(samples_max)
    }
}
