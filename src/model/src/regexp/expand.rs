//! Templates with groups, as Go's `regexp.Expand` reads them.

use regex::bytes::Captures;

/// A name of a group as the `regex` crate takes it: it must start with a letter there. No name in Go has a dot.
pub(super) fn group_name(name: &str) -> std::borrow::Cow<'_, str> {
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("d.{name}").into(),
        false => name.into(),
    }
}

/// Appends `template` with its groups replaced. A `$` that starts no name stays.
pub(super) fn expand(captures: &Captures<'_>, mut template: &str, out: &mut Vec<u8>) {
    while let Some((before, after)) = template.split_once('$') {
        out.extend_from_slice(before.as_bytes());
        if let Some(rest) = after.strip_prefix('$') {
            out.push(b'$');
            template = rest;
            continue;
        }

        let Some((name, rest)) = reference(after) else {
            out.push(b'$');
            template = after;
            continue;
        };

        let group = match number(name) {
            Some(n) => captures.get(n),
            None => captures.name(&group_name(name)),
        };

        out.extend_from_slice(group.map_or(b"", |found| found.as_bytes()));
        template = rest;
    }
    out.extend_from_slice(template.as_bytes());
}

/// Splits `name rest` or `{name} rest`, which stand behind a `$`.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('{');
    let from = inside.unwrap_or(text);
    let end = from
        .find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(from.len());
    let (name, rest) = from.split_at(end);
    let rest = if inside.is_some() {
        rest.strip_prefix('}')?
    } else {
        rest
    };

    (!name.is_empty()).then_some((name, rest))
}

/// The number of a group; a name like `1x` or `01` is none.
fn number(name: &str) -> Option<usize> {
    let is_number =
        name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    name.parse().ok().filter(|_| is_number)
}
