//! `info`: adds labels of info metrics to series with the same `instance` and `job`, or the one of them that a series has.

mod reference;

use hashbrown::HashMap;
use trireme_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::block::Block;
use super::call::argument;
use super::eval::{Evaluator, hints};
use super::labels::METADATA;
use super::row::{Cell, Meta, Row, Tag};
use super::selector::Field;
use super::stream::Stream;
use crate::ast::{Call, Expr};
use crate::error::QueryError;

pub(super) use reference::is_pinned;

/// Labels that say which target a series is about.
const IDENTITY: [&str; 2] = ["instance", "job"];
/// The info metric if none is named.
const DEFAULT_METRIC: &str = "target_info";

/// The second argument: which info metrics, and which of their labels.
struct InfoSelector {
    names: Vec<Matcher>,
    /// Conditions on data labels; if there are any, only these labels are added.
    data: Vec<Matcher>,
}

impl InfoSelector {
    fn new(expr: Option<&Expr>) -> Result<Self, QueryError> {
        let matchers = match expr.map(Expr::unwrap_parens) {
            Some(Expr::Vector(selector)) => selector.matchers.as_slice(),
            _ => &[],
        };
        let (mut names, data): (Vec<_>, Vec<_>) = matchers
            .iter()
            .cloned()
            .partition(|m| &*m.name == METRIC_NAME);
        if names.is_empty() {
            names.push(name_matcher(MatchOp::Equal, DEFAULT_METRIC)?);
        } else if !names
            .iter()
            .any(|m: &Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex))
        {
            names.push(name_matcher(MatchOp::Regex, ".+_info")?);
        }

        Ok(Self { names, data })
    }

    /// True for info metrics themselves, to which nothing is added.
    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|m| m.matches(labels.metric_name()))
    }

    fn wants(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|m| &*m.name == label)
    }

    /// Matchers of all info series that can be of use to the base series, and of some more; `None` if there are none.
    fn matchers(&self, base: &Block) -> Result<Option<Vec<Matcher>>, QueryError> {
        let wanted = base.metas.iter().map(|meta| &meta.labels);
        let wanted: Vec<&Labels> = wanted
            .filter(|labels| !self.is_info(labels) && is_identified(labels))
            .collect();
        if wanted.is_empty() {
            return Ok(None);
        }

        let mut matchers = self.names.clone();
        for name in IDENTITY {
            matchers.push(one_of(name, &wanted)?);
        }

        matchers.extend(self.data.iter().cloned());
        Ok(Some(matchers))
    }
}

fn name_matcher(op: MatchOp, value: &str) -> Result<Matcher, QueryError> {
    Matcher::new(METRIC_NAME, op, value).map_err(|e| QueryError::Internal(e.to_string()))
}

/// Matches the values of a label that these series have.
fn one_of(name: &str, series: &[&Labels]) -> Result<Matcher, QueryError> {
    // A label that a series lacks has to be lacking in its info series, too: the empty value is one of the list.
    let mut values: Vec<&str> = series
        .iter()
        .map(|labels| labels.get(name).unwrap_or(""))
        .collect();
    values.sort_unstable();
    values.dedup();

    let values: Vec<_> = values.into_iter().map(escape).collect();
    let matcher = Matcher::new(name, MatchOp::Regex, &values.join("|"));
    matcher.map_err(|e| QueryError::Internal(e.to_string()))
}

/// True for a series that says which target it is about.
fn is_identified(labels: &Labels) -> bool {
    IDENTITY.iter().any(|name| labels.get(name).is_some())
}

/// A text as a regular expression that matches just it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }

    out
}

/// Metric name and identity.
fn signature(name: &str, labels: &Labels) -> Labels {
    let mut builder = labels.only(&IDENTITY).to_builder();
    builder.set(METRIC_NAME, name);
    builder.finish()
}

impl<'q> Evaluator<'q> {
    pub(super) fn info(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let arg = argument(call, 0)?;
        let base = self.vector(arg, hints("info"))?.collect(self.query)?;
        let selector = InfoSelector::new(call.args.get(1))?;
        let infos = match selector.matchers(&base)? {
            // Info series are read as of the time that the base series are read at.
            Some(matchers) => {
                let shift = self.info_shift(arg);
                let stream =
                    self.newest_samples(&matchers, shift, Field::InfoTime, hints("info"))?;
                stream.collect(self.query)?
            }
            None => Block::new(base.steps),
        };

        let out = self.enrich(&base, &infos, &selector)?;
        Ok(out.merge_equal_labels()?.into_stream())
    }

    fn enrich(
        &self,
        base: &Block,
        infos: &Block,
        selector: &InfoSelector,
    ) -> Result<Block, QueryError> {
        let mut names: Vec<&str> = infos
            .metas
            .iter()
            .map(|meta| meta.labels.metric_name())
            .collect();

        names.sort_unstable();
        names.dedup();
        let signatures: Vec<Labels> = infos
            .metas
            .iter()
            .map(|m| signature(m.labels.metric_name(), &m.labels))
            .collect();

        let newest = (0..base.steps)
            .map(|step| newest_infos(infos, &signatures, step))
            .collect::<Result<Vec<_>, _>>()?;
        let must_match = selector.data.iter().any(|m| !m.matches_empty());

        let mut out = Block::new(base.steps);
        for (meta, row) in base.metas.iter().zip(&base.rows) {
            self.query.check()?;
            if selector.is_info(&meta.labels) {
                out.held.hold(&self.query.budget, row.samples())?;
                out.push(meta.clone(), row.clone());
                continue;
            }

            let identified = names.iter().filter(|_| is_identified(&meta.labels));
            let wanted: Vec<Labels> = identified
                .map(|name| signature(name, &meta.labels))
                .collect();

            // Output row of each combination of info series.
            let mut row_of: HashMap<Vec<usize>, usize> = HashMap::new();

            for step in (0..base.steps).filter(|step| row.tag(*step) != Tag::Empty) {
                let found: Vec<usize> = wanted
                    .iter()
                    .filter_map(|s| newest[step].get(s).map(|(series, _)| *series))
                    .collect();
                if found.is_empty() && must_match {
                    continue;
                }

                let at = match row_of.get(&found) {
                    Some(at) => *at,
                    None => {
                        let labels = enriched(&meta.labels, &found, infos, selector)?;
                        let drop_name = meta.drop_name;
                        out.push(Meta { labels, drop_name }, Row::empty(base.steps));
                        row_of.insert(found, out.rows.len() - 1);
                        out.rows.len() - 1
                    }
                };

                out.rows[at].copy(step, row.cell(step));
            }

            out.held.hold(&self.query.budget, row.samples())?;
        }

        Ok(out)
    }
}

/// Of each signature the info series with the newest sample at a step, and the time of that sample.
fn newest_infos<'a>(
    infos: &Block,
    signatures: &'a [Labels],
    step: usize,
) -> Result<HashMap<&'a Labels, (usize, f64)>, QueryError> {
    let mut newest: HashMap<&Labels, (usize, f64)> = HashMap::new();
    for (series, row) in infos.rows.iter().enumerate() {
        let Cell::Float(t) = row.cell(step) else {
            continue;
        };
        match newest.get(&signatures[series]) {
            Some((other, present)) if *present == t => {
                let existing = super::labels::display(&infos.metas[*other].labels);
                let new = super::labels::display(&infos.metas[series].labels);
                return Err(QueryError::execution(format!(
                    "found duplicate series for info metric: existing {existing} @ {present}, new {new} @ {t}"
                )));
            }
            Some((_, present)) if *present > t => {}
            _ => drop(newest.insert(&signatures[series], (series, t))),
        }
    }

    Ok(newest)
}

/// The labels of a base series with those of the info series that it does not have itself.
fn enriched(
    base: &Labels,
    found: &[usize],
    infos: &Block,
    selector: &InfoSelector,
) -> Result<Labels, QueryError> {
    let mut added: Vec<(&str, &str)> = Vec::new();
    for series in found {
        for (name, value) in infos.metas[*series].labels.iter() {
            if METADATA.contains(&name) || !selector.wants(name) {
                continue;
            }
            if added.iter().any(|(n, v)| *n == name && *v != value) {
                return Err(QueryError::execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.push((name, value));
            }
        }
    }

    let mut builder = base.to_builder();
    for (name, value) in added {
        builder.set(name, value);
    }

    Ok(builder.finish())
}
