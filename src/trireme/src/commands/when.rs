//! Points in time as people type them.

use anyhow::{Context, bail};

/// Milliseconds since the epoch of an RFC 3339 time, of Unix seconds (perhaps with a fraction), of `now`, or of a
/// duration before or after now such as `-2h` or `+10m`.
pub fn parse_time_ms(text: &str, now_ms: i64) -> anyhow::Result<i64> {
    let text = text.trim();
    if text == "now" {
        return Ok(now_ms);
    }

    if let Ok(seconds) = text.parse::<f64>()
        && !(text.starts_with('+') || text.starts_with('-'))
    {
        let ms = seconds * 1_000.0;
        if !ms.is_finite() || ms.abs() > 9.0e15 {
            bail!("{text} is out of range");
        }
        return Ok(ms.round() as i64);
    }

    if let Some(ms) = signed_ms(text)? {
        return Ok(now_ms.saturating_add(ms));
    }

    let time: jiff::Timestamp = text
        .parse()
        .with_context(|| format!("{text} is neither RFC 3339 nor Unix seconds"))?;

    Ok(time.as_millisecond())
}

/// Milliseconds of a duration with a sign; none if there is no sign.
fn signed_ms(text: &str) -> anyhow::Result<Option<i64>> {
    let relative = text
        .strip_prefix('-')
        .map(|t| (-1, t))
        .or_else(|| text.strip_prefix('+').map(|t| (1, t)));

    let Some((sign, duration)) = relative else {
        return Ok(None);
    };
    let duration =
        humantime::parse_duration(duration).with_context(|| format!("{text} is no duration"))?;
    let ms = i64::try_from(duration.as_millis()).context("duration too long")?;
    Ok(Some(sign * ms))
}

#[cfg(test)]
mod tests {
    use super::parse_time_ms;

    #[test]
    fn reads_every_form() {
        let now = 1_700_000_000_000;
        for (text, ms) in [
            ("now", now),
            ("1700000000", now),
            ("1700000000.5", now + 500),
            ("-2h", now - 7_200_000),
            ("+1m 30s", now + 90_000),
            ("2023-11-14T22:13:20Z", now),
            ("2023-11-14T23:13:20.250+01:00", now + 250),
        ] {
            assert_eq!(parse_time_ms(text, now).expect(text), ms, "{text}");
        }

        for text in ["", "tomorrow", "-", "1e99", "NaN"] {
            assert!(parse_time_ms(text, now).is_err(), "{text:?}");
        }
    }
}
