//! `label_replace` and `label_join`: they look at labels only.

use trireme_model::METRIC_NAME;

use super::call::string;
use super::eval::Evaluator;
use super::labels::is_valid_name;
use super::row::Meta;
use super::stream::Stream;
use crate::ast::Call;
use crate::error::QueryError;

/// Sets a label; a metric name that was set on purpose stays.
fn set(meta: &mut Meta, name: &str, value: &str) {
    let mut builder = meta.labels.to_builder();
    builder.set(name, value);
    meta.labels = builder.finish();
    if name == METRIC_NAME {
        meta.drop_name = false;
    }
}

impl<'q> Evaluator<'q> {
    pub(super) fn label_replace(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let texts = call.args[1..]
            .iter()
            .map(string)
            .collect::<Result<Vec<_>, _>>()?;
        let [to, replacement, from, pattern] = texts[..] else {
            return Err(QueryError::Internal(
                "BUG: label_replace lacks an argument".to_owned(),
            ));
        };

        let regexp = self.query.pattern(pattern).map_err(|_| {
            QueryError::execution(format!(
                "invalid regular expression in label_replace(): {pattern}"
            ))
        })?;

        if !is_valid_name(to) {
            return Err(QueryError::execution(format!(
                "invalid destination label name in label_replace(): {to}"
            )));
        }

        let mut stream = self.first_vector(call)?;

        let references = replacement.matches('$').count();
        for meta in &mut stream.metas {
            let value = meta.labels.get(from).unwrap_or("");
            if !regexp.is_match(value) {
                continue;
            }
            let bytes = expanded_bytes_max(replacement.len(), references, value.len());
            self.query.count_label_bytes("label_replace", bytes)?;
            if let Some(value) = regexp.expand(value, replacement) {
                set(meta, to, &value);
            }
        }

        stream.merge_equal_labels(self.query)
    }

    pub(super) fn label_join(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let texts = call.args[1..]
            .iter()
            .map(string)
            .collect::<Result<Vec<_>, _>>()?;
        let [to, separator, from @ ..] = &texts[..] else {
            return Err(QueryError::Internal(
                "BUG: label_join lacks an argument".to_owned(),
            ));
        };

        if let Some(name) = from.iter().find(|name| !is_valid_name(name)) {
            return Err(QueryError::execution(format!(
                "invalid source label name in label_join(): {name}"
            )));
        }

        if !is_valid_name(to) {
            return Err(QueryError::execution(format!(
                "invalid destination label name in label_join(): {to}"
            )));
        }

        let mut stream = self.first_vector(call)?;
        for meta in &mut stream.metas {
            let values: Vec<_> = from
                .iter()
                .map(|name| meta.labels.get(name).unwrap_or(""))
                .collect();
            let bytes = joined_bytes(&values, separator.len());
            self.query.count_label_bytes("label_join", bytes)?;
            let value = values.join(separator);
            set(meta, to, &value);
        }

        stream.merge_equal_labels(self.query)
    }
}

/// At most: each reference stands for the whole value.
fn expanded_bytes_max(replacement_bytes: usize, references: usize, value_bytes: usize) -> usize {
    replacement_bytes.saturating_add(references.saturating_mul(value_bytes))
}

fn joined_bytes(values: &[&str], separator_bytes: usize) -> usize {
    let between = separator_bytes.saturating_mul(values.len().saturating_sub(1));
    values
        .iter()
        .map(|value| value.len())
        .fold(between, usize::saturating_add)
}
