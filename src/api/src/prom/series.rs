//! `series`, `labels` and `label/<name>/values`.

use actix_web::web::Path;
use trireme_query::{Asked, Found};

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::json::{push_array, push_labels, push_str};

pub(crate) async fn series(ask: Ask) -> Answer {
    let selection = ask.selection().await?;
    if ask.params.all("match[]").next().is_none() {
        return Err(ApiError::invalid("no match[] parameter provided"));
    }
    let Some(selection) = selection else {
        return nothing();
    };

    let limit = selection.limit;
    let (context, entry) = ask.begin("series").await?;
    let asked = Asked::Series(&selection);
    let job = selection.clone();
    let mut found = ask
        .run_quick(context, &asked, move |q, context| q.series(context, &job))
        .await?;

    drop(entry);
    found.truncate(limit);
    Ok(answer::counted(&ask, &found.warnings, |o| {
        push_array(o, &found.items, push_labels)
    })?)
}

pub(crate) async fn label_names(ask: Ask) -> Answer {
    let Some(selection) = ask.selection().await? else {
        return nothing();
    };

    let limit = selection.limit;
    let (context, entry) = ask.begin("labels").await?;
    let asked = Asked::LabelNames(&selection);
    let job = selection.clone();
    let found = ask
        .run_quick(context, &asked, move |q, context| {
            q.label_names(context, &job)
        })
        .await?;

    drop(entry);
    strings(&ask, found, limit)
}

pub(crate) async fn label_values(ask: Ask, path: Path<String>) -> Answer {
    // A name that is not escaped well is itself, as in Prometheus.
    let name = unescape(&path).unwrap_or_else(|| path.to_string());

    if name.is_empty() || name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(ApiError::invalid(format!(
            "invalid label name: {:?}",
            path.as_str()
        )));
    }

    let Some(selection) = ask.selection().await? else {
        return nothing();
    };

    let limit = selection.limit;
    let (context, entry) = ask.begin("label values").await?;
    if context.replica_labels.contains(&name) {
        // No series has it any more.
        return nothing();
    }

    let asked = Asked::LabelValues(&name, &selection);
    let job = (name.clone(), selection.clone());
    let found = ask.run_quick(context, &asked, move |q, context| {
        q.label_values(context, &job.0, &job.1)
    });
    let found = found.await?;

    drop(entry);
    strings(&ask, found, limit)
}

/// The answer where nothing can be.
fn nothing() -> Answer {
    Ok(answer::success(&[], &[], |out| {
        out.extend_from_slice(b"[]")
    }))
}

fn strings(ask: &Ask, mut found: Found<String>, limit: usize) -> Answer {
    found.truncate(limit);
    Ok(answer::counted(ask, &found.warnings, |o: &mut Vec<u8>| {
        push_array(o, &found.items, |o, s| push_str(o, s))
    })?)
}

/// Undoes the escaping of label names in paths: `U__` in front, `__` for `_`, `_<hex>_` for any other character.
/// `None` for a name that starts so, but is not escaped well.
fn unescape(name: &str) -> Option<String> {
    let Some(mut rest) = name.strip_prefix("U__") else {
        return Some(name.to_owned());
    };

    let mut out = String::with_capacity(rest.len());
    while let Some((plain, after)) = rest.split_once('_') {
        out.push_str(plain);
        rest = if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            after
        } else {
            let (code, after) = after.split_once('_')?;
            let short = code.len() <= 6;
            out.push(
                u32::from_str_radix(code, 16)
                    .ok()
                    .filter(|_| short)
                    .and_then(char::from_u32)?,
            );
            after
        };
    }

    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read_back() {
        let cases = [
            ("job", Some("job")),
            ("U__http_2e_status", Some("http.status")),
            ("U__a__b", Some("a_b")),
            ("U___1F600_x", Some("😀x")),
            ("U__a_2e", None),
            ("U__a_zz_", None),
            ("U__a_d800_", None),
        ];
        for (name, want) in cases {
            assert_eq!(unescape(name).as_deref(), want, "{name}");
        }
    }
}
