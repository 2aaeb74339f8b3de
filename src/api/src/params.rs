//! Parameters of a request: the form in its body first, then the query string.

mod multipart;

use std::num::IntErrorKind;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, web};
use trireme_model::quote;
use trireme_promql::parse_duration;

use crate::body::{self, Bounds};
use crate::budget::Reserved;
use crate::error::ApiError;

/// Largest form in a body, as in Go's `ParseForm`.
const FORM_BYTES_MAX: usize = 10 << 20;

/// Decoded parameters in order.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the body if it is a form, and the query string.
    pub(crate) async fn read(
        request: &HttpRequest,
        payload: web::Payload,
        timeout: Duration,
        mut reserved: Reserved,
    ) -> Result<Self, ApiError> {
        let mut params = Self::default();
        let headers = request.headers();
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
        let form = content_type.to_ascii_lowercase();
        let is_form = form.starts_with(b"application/x-www-form-urlencoded");
        let is_multipart = form.starts_with(b"multipart/form-data");
        if (is_form || is_multipart) && request.method() == actix_web::http::Method::POST {
            let bounds = Bounds {
                bytes_max: FORM_BYTES_MAX,
                bytes_key: "forms",
                timeout,
            };
            let body = body::read(request, payload, &bounds, &mut reserved).await?;
            match is_form {
                true => params.add(&body)?,
                false => {
                    params.0 = multipart::fields(&String::from_utf8_lossy(content_type), &body)?
                }
            }
        }

        params.add(request.query_string().as_bytes())?;
        Ok(params)
    }

    /// The query string alone.
    pub(crate) fn of_query(request: &HttpRequest) -> Result<Self, ApiError> {
        Self::of_encoded(request.query_string().as_bytes())
    }

    /// Parameters in the form of a query string.
    pub(crate) fn of_encoded(encoded: &[u8]) -> Result<Self, ApiError> {
        let mut params = Self::default();
        params.add(encoded)?;
        Ok(params)
    }

    fn add(&mut self, encoded: &[u8]) -> Result<(), ApiError> {
        for pair in encoded.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
            let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let value = pair.get(at + 1..).unwrap_or_default();
            self.0.push((unescape(&pair[..at])?, unescape(value)?));
        }
        Ok(())
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// A required text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A time (ms), or `default` if absent.
    pub(crate) fn time(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        self.get(name).map_or(Ok(default), |text| {
            parse_time(text).map_err(|why| {
                ApiError::parameter(name, format!("Invalid time value for '{name}': {why}"))
            })
        })
    }

    /// A time (ms) that has to be there.
    pub(crate) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.text(name)).map_err(|why| ApiError::parameter(name, why))
    }

    /// A duration (ms), if there.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|text| parse_step(text).map_err(|why| ApiError::parameter(name, why)))
            .transpose()
    }

    /// A count that must not be negative; 0 if absent.
    pub(crate) fn count(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(0);
        };
        match text.parse::<i64>() {
            Ok(n) if n >= 0 => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
            Ok(_) => Err(ApiError::parameter(name, "limit must be non-negative")),
            Err(e) => Err(ApiError::parameter(name, not_an_integer(text, e.kind()))),
        }
    }

    /// A count of which 0 is one and negative numbers mean none; `None` without it.
    pub(crate) fn limit_or_none(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::invalid(format!("{name} must be a number")))?;
        Ok(usize::try_from(number).ok())
    }

    /// A switch, or `default` if absent.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        parse_bool(text)
            .ok_or_else(|| ApiError::parameter(name, format!("cannot parse {text:?} to a boolean")))
    }
}

/// Go's words for a text that is no integer.
fn not_an_integer(text: &str, why: &IntErrorKind) -> String {
    let why = match why {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.Atoi: parsing {}: {why}", quote(text))
}

/// A switch as Go reads it.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn unescape(encoded: &[u8]) -> Result<String, ApiError> {
    let mut out = Vec::with_capacity(encoded.len());

    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = bytes.as_slice().first_chunk::<2>();
                let hex = pair.and_then(|h| Some((hex(h[0])? << 4) | hex(h[1])?));
                out.push(hex.ok_or_else(|| bad_escape(bytes.as_slice()))?);
                bytes.nth(1);
            }
            other => out.push(*other),
        }
    }

    Ok(String::from_utf8(out)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// What is said of a `%` before `rest`.
fn bad_escape(rest: &[u8]) -> ApiError {
    let escape = format!("%{}", String::from_utf8_lossy(&rest[..rest.len().min(2)]));
    ApiError::invalid(format!(
        "error parsing form values: invalid URL escape {}",
        quote(&escape)
    ))
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|n| n as u8)
}

/// Milliseconds of unix seconds or of an RFC 3339 time.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    // The two ends of time that Prometheus's clients send for "everything".
    match text {
        "-292273086-05-16T16:47:06Z" => return Ok(i64::MIN),
        "+292277025-08-18T07:12:54.999999999Z" | "292277025-08-18T07:12:54.999999999Z" => {
            return Ok(i64::MAX);
        }
        _ => {}
    }

    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1_000.0).round();
        if !ms.is_finite() {
            return Err(format!("cannot parse {text:?} to a valid timestamp"));
        }
        return Ok(ms as i64);
    }

    // Seconds are part of the form, a space or a named zone is not.
    let bytes = text.as_bytes();
    let has_form =
        bytes.get(10) == Some(&b'T') && bytes.get(16) == Some(&b':') && !bytes.contains(&b'[');
    let time = text.parse::<jiff::Timestamp>().ok().filter(|_| has_form);

    time.map(|t| t.as_millisecond())
        .ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Milliseconds of seconds or of a duration literal.
pub(crate) fn parse_step(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        // By way of nanoseconds, which are cut off, as there.
        let ns = seconds * 1e9;
        let fits = ns.is_finite() && ns.abs() < i64::MAX as f64;
        return if fits {
            Ok(ns as i64 / 1_000_000)
        } else {
            Err(format!("{}. It overflows int64", no_duration(text)))
        };
    }

    parse_duration(text).map_err(|_| no_duration(text))
}

fn no_duration(text: &str) -> String {
    format!("cannot parse {text:?} to a valid duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_in_order() {
        let mut params = Params::default();
        params
            .add(b"query=sum%28up%29+%2B+1&match[]=a&match%5B%5D=b%7B%7D&empty=")
            .expect("good");
        assert_eq!(params.text("query"), "sum(up) + 1");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b{}"]);
        assert_eq!(params.get("empty"), None);

        let error = |form: &[u8]| Params::of_encoded(form).expect_err("no escape").to_string();
        assert_eq!(
            error(b"a=%zzz"),
            r#"error parsing form values: invalid URL escape "%zz""#
        );
        assert_eq!(
            error(b"a=%2"),
            r#"error parsing form values: invalid URL escape "%2""#
        );
    }

    #[test]
    fn times_and_durations_have_two_forms() {
        assert_eq!(parse_time("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(
            parse_time("2015-07-01T20:10:51.781Z"),
            Ok(1_435_781_451_781)
        );
        assert_eq!(
            parse_time("2015-07-01T22:10:51.781+02:00"),
            Ok(1_435_781_451_781)
        );

        assert!(
            parse_time("yesterday").is_err()
                && parse_time("NaN").is_err()
                && parse_time("1e400").is_err()
        );

        assert!(
            parse_time("2024-01-01T00:00Z").is_err() && parse_time("2024-01-01 00:00:00Z").is_err()
        );
        assert!(parse_time("2024-01-01T00:00:00+01:00[Europe/Berlin]").is_err());

        assert_eq!(parse_step("15"), Ok(15_000));
        assert_eq!(
            (parse_step("15.0005"), parse_step("0.29")),
            (Ok(15_000), Ok(290))
        );
        assert_eq!(parse_step("0.5"), Ok(500));
        assert_eq!(parse_step("1h30m"), Ok(5_400_000));

        assert!(parse_step("1e30").is_err() && parse_step("1x").is_err());
    }
}
