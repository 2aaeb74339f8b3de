//! Many sources as one storage.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};
use trireme_model::Labels;
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};

use crate::ahead::{Ahead, Wants};
use crate::united::read_united;
use crate::{Far, Notes, Source, SourceError};

/// A source and its answer.
type Answered<T> = (Arc<dyn Source>, T);

/// The union of sources. A source that fails becomes a warning, or an error if partial answers are not wanted.
pub struct Merged {
    sources: Vec<Arc<dyn Source>>,
    far: Option<Far>,
    partial: bool,
    notes: Notes,
}

impl Merged {
    /// Over these sources. `notes` collects what goes wrong while series are read; `partial`: go on without it.
    pub fn new(sources: Vec<Arc<dyn Source>>, partial: bool, notes: Notes) -> Self {
        Self {
            sources,
            far: None,
            partial,
            notes,
        }
    }

    /// Reads sources in the bucket through this.
    pub fn with_far(self, far: Option<Far>) -> Self {
        Self { far, ..self }
    }

    /// Asks all sources that may have samples in `[start_ms, end_ms]`, far ones side by side, and gives the answers of those
    /// that had one, with the sources. `ask` may be called several times for a source, until it has answered.
    pub(crate) fn ask_all<T>(
        &self,
        (start_ms, end_ms): (i64, i64),
        cancel: &Cancel,
        mut ask: impl FnMut(&dyn Source) -> Result<T, SourceError>,
    ) -> Result<Vec<Answered<T>>, SourceError> {
        let sources: Vec<&Arc<dyn Source>> = self.overlapping(start_ms, end_ms).collect();
        let mut ask = |number: usize| ask(sources[number].as_ref());
        let answers = match &self.far {
            Some(far) => far.ask_all(sources.len(), cancel, &mut ask)?,
            None => (0..sources.len())
                .map(|number| {
                    cancel.check()?;
                    Ok(ask(number))
                })
                .collect::<Result<_, SourceError>>()?,
        };

        let mut good = Vec::with_capacity(answers.len());
        for (source, answer) in sources.into_iter().zip(answers) {
            match answer {
                Ok(answer) => good.push((Arc::clone(source), answer)),
                Err(e) => self.forgive(source.as_ref(), e)?,
            }
        }

        Ok(good)
    }

    /// Sources that may have samples in `[start_ms, end_ms]`.
    pub fn overlapping(
        &self,
        start_ms: i64,
        end_ms: i64,
    ) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.sources.iter().filter(move |s| {
            let (first, last) = s.time_range();
            first <= end_ms && start_ms <= last
        })
    }

    /// Notes a failed source, or gives its error back if the answer must be whole.
    pub fn forgive(&self, source: &dyn Source, error: SourceError) -> Result<(), SourceError> {
        if !self.partial || matches!(error, SourceError::Stopped(_)) {
            return Err(error);
        }
        self.notes
            .add(format!("{} was not read: {error}", source.name()));
        Ok(())
    }
}

impl Select for Merged {
    /// Series in label order.
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let range = (request.start_ms, request.end_ms);
        let answers = self.ask_all(range, cancel, |source: &dyn Source| {
            source.select(&request.matchers, range.0, range.1, cancel)
        })?;
        let mut lists: Vec<Vec<Parts>> = Vec::with_capacity(answers.len());

        let mut sources = Vec::with_capacity(answers.len());
        for (source, mut found) in answers {
            // Sources give label order, which this only makes sure of.
            found.sort_by(|a, b| a.labels().cmp(b.labels()));
            let number = sources.len() as u32;

            sources.push(source);
            lists.push(
                found
                    .into_iter()
                    .map(|series| {
                        smallvec![Part {
                            source: number,
                            series
                        }]
                    })
                    .collect(),
            );
        }

        cancel.check()?;
        let series = merge_all(lists);
        let ahead = self
            .far
            .as_ref()
            .and_then(|far| Ahead::of(far, cancel, &series, range.0, range.1));
        let shared = Arc::new(Shared {
            sources,
            series,
            partial: self.partial,
            notes: self.notes.clone(),
            ahead,
        });

        let series = (0..shared.series.len())
            .map(|number| {
                Box::new(MergedSeries {
                    number,
                    shared: Arc::clone(&shared),
                }) as _
            })
            .collect();

        Ok(SeriesSet {
            series,
            warnings: Vec::new(),
        })
    }
}

/// With more lists than this, looking up each series is less work than merging lists two by two.
const LISTS_MERGED_MAX: usize = 8;

/// Merges neighbours until one list is left: sources with the same series cost one comparison a series, sources with
/// others the logarithm of their number.
fn merge_all(mut lists: Vec<Vec<Parts>>) -> Vec<Parts> {
    if lists.len() > LISTS_MERGED_MAX {
        return merge_many(lists);
    }

    while lists.len() > 1 {
        let mut halved = Vec::with_capacity(lists.len().div_ceil(2));
        let mut rest = lists.into_iter();
        while let Some(first) = rest.next() {
            halved.push(match rest.next() {
                Some(second) => merge_two(first, second),
                None => first,
            });
        }
        lists = halved;
    }

    lists.pop().unwrap_or_default()
}

/// The same for the many blocks of a long time, which mostly have the same series.
fn merge_many(lists: Vec<Vec<Parts>>) -> Vec<Parts> {
    let mut numbers: HashMap<Labels, usize> = HashMap::new();

    let mut merged: Vec<Parts> = Vec::new();
    for parts in lists.into_iter().flatten() {
        match numbers.get(labels_of(&parts)) {
            Some(number) => merged[*number].extend(parts),
            None => {
                numbers.insert(labels_of(&parts).clone(), merged.len());
                merged.push(parts);
            }
        }
    }

    // What each list added is in order already, which a stable sort finds.
    merged.sort_by(|a, b| labels_of(a).cmp(labels_of(b)));
    merged
}

/// Both lists are in label order; where both have a series, the parts of `a` come first.
fn merge_two(a: Vec<Parts>, b: Vec<Parts>) -> Vec<Parts> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }

    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let mut a = a.into_iter().peekable();

    let mut b = b.into_iter().peekable();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match labels_of(x).cmp(labels_of(y)) {
            Ordering::Less => out.extend(a.next()),
            Ordering::Greater => out.extend(b.next()),
            Ordering::Equal => {
                if let (Some(mut parts), Some(more)) = (a.next(), b.next()) {
                    parts.extend(more);
                    out.push(parts);
                }
            }
        }
    }

    out.extend(a);
    out.extend(b);
    out
}

fn labels_of(parts: &Parts) -> &Labels {
    parts
        .first()
        .expect("BUG: a series without a source")
        .series
        .labels()
}

/// What one source has of a series.
struct Part {
    /// Number among the sources of the selection.
    source: u32,
    series: Box<dyn SeriesRead>,
}

/// What all sources have of a series, in the order of the sources. Never empty.
type Parts = SmallVec<[Part; 1]>;

impl Wants for Parts {
    fn want(&self, start_ms: i64, end_ms: i64) -> u64 {
        self.iter()
            .map(|part| part.series.want(start_ms, end_ms))
            .sum()
    }
}

/// A selection; each series of it holds it, so that giving out many series takes one allocation for each.
struct Shared {
    sources: Vec<Arc<dyn Source>>,
    series: Vec<Parts>,
    partial: bool,
    notes: Notes,
    ahead: Option<Ahead>,
}

/// Reads what is wanted of one part.
type ReadOne<'a> = dyn Fn(&dyn SeriesRead, &mut Columns) -> Result<(), SelectError> + 'a;

struct MergedSeries {
    /// Among the series of the selection.
    number: usize,
    shared: Arc<Shared>,
}

impl Drop for MergedSeries {
    fn drop(&mut self) {
        if let Some(ahead) = &self.shared.ahead {
            ahead.gone(self.number);
        }
    }
}

impl MergedSeries {
    fn parts(&self) -> &Parts {
        &self.shared.series[self.number]
    }

    /// Reads one part with `read`.
    fn read_part(
        &self,
        part: &Part,
        read: &ReadOne<'_>,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        match read(part.series.as_ref(), out) {
            // The query's fault, and not that of the source.
            Err(e @ (SelectError::Stopped(_) | SelectError::TooManySamples)) => Err(e),
            Err(e) if self.shared.partial => {
                // What was read before the bad chunk is good, but it would look like all there is.
                out.clear();
                let source = &self.shared.sources[part.source as usize];
                self.shared
                    .notes
                    .add(format!("{} was not read: {e}", source.name()));
                Ok(())
            }
            other => other,
        }
    }

    /// Waits for what has to come from far away.
    fn ready(&self, start_ms: i64, end_ms: i64) -> Result<(), SelectError> {
        let Some(ahead) = &self.shared.ahead else {
            return Ok(());
        };
        ahead.ready(&self.shared.series, self.number, start_ms, end_ms)
    }

    fn read_parts(
        &self,
        samples_max: usize,
        read: &ReadOne<'_>,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        read_united(self.parts(), samples_max, out, |part, out| {
            self.read_part(part, read, out)
        })
    }
}

impl SeriesRead for MergedSeries {
    fn labels(&self) -> &Labels {
        labels_of(self.parts())
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        self.ready(start_ms, end_ms)?;
        self.read_parts(
            samples_max,
            &|part, out| part.read_within(start_ms, end_ms, samples_max, out),
            out,
        )
    }

    /// The newest of all parts is among the newest of each.
    fn read_newest(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        self.ready(start_ms, end_ms)?;
        self.read_parts(
            usize::MAX,
            &|part, out| part.read_newest(start_ms, end_ms, out),
            out,
        )
    }
}
