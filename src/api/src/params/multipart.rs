//! `multipart/form-data`, as `curl -F` and some HTTP libraries send forms.

use crate::error::ApiError;

/// Name and value of every part that is a field; files are left out, as in Go.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    let boundary = parameter(content_type, "boundary").filter(|b| !b.is_empty() && b.len() <= 200);
    let boundary = boundary.ok_or_else(|| wrong("no boundary in the content type"))?;
    let delimiter = format!("\r\n--{boundary}");

    // The first boundary may stand at the very beginning.
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => {
            cut(body, delimiter.as_bytes())
                .ok_or_else(|| wrong("the boundary does not occur"))?
                .1
        }
    };

    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        let (part, after) =
            cut(rest, delimiter.as_bytes()).ok_or_else(|| wrong("a part has no end"))?;
        let (head, value) = cut(part, b"\r\n\r\n").ok_or_else(|| wrong("a part has no header"))?;
        if let Some(name) = field_name(head) {
            fields.push((name, String::from_utf8_lossy(value).into_owned()));
        }
        rest = after;
    }

    Ok(fields)
}

fn wrong(what: &str) -> ApiError {
    ApiError::invalid(format!("error parsing form values: multipart: {what}"))
}

/// What stands before and behind the first `separator`.
fn cut<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(bytes, separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// The name in a part's `Content-Disposition`, unless it is a file.
fn field_name(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let disposition = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| {
            name.trim()
                .eq_ignore_ascii_case("content-disposition")
                .then(|| value.trim().to_owned())
        })?;

    if parameter(&disposition, "filename").is_some() {
        return None;
    }

    parameter(&disposition, "name")
}

/// A parameter of a header's value: `x; name="value"`. The values looked for here hold no semicolon.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let parameters = value
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='));
    let mut matching = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));

    matching
        .next()
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x-y\"";

    #[test]
    fn fields_are_read_and_files_left_out() {
        let body = "--x-y\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nsum(up)\r\nby (job)\r\n\
            --x-y\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nfile\r\n\
            --x-y\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"match[]\"\r\n\r\n\r\n--x-y--\r\n";

        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for body in [body.to_owned(), format!("preamble\r\n{body}")] {
            let read = fields(TYPE, body.as_bytes()).expect("a form");
            assert_eq!(
                read,
                [pair("query", "sum(up)\r\nby (job)"), pair("match[]", "")]
            );
        }
    }

    #[test]
    fn what_is_no_form_is_said() {
        let whole =
            "--x-y\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nup\r\n--x-y--\r\n";
        assert_eq!(fields(TYPE, whole.as_bytes()).expect("a form").len(), 1);
        for end in 0..whole.len() - 4 {
            assert!(fields(TYPE, &whole.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(fields("multipart/form-data", whole.as_bytes()).is_err());
    }
}
