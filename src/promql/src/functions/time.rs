//! Calendar functions, in UTC.

/// Year, month (1-12) and day (1-31) of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Days are counted from 0000-03-01, so that a leap day is the last of its year and of its 400 year cycle.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_EPOCH: i64 = 719_468;
    const CYCLE_DAYS: i64 = 146_097;

    let shifted = days + DAYS_TO_EPOCH;
    let cycle = shifted.div_euclid(CYCLE_DAYS);
    let day = shifted.rem_euclid(CYCLE_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };

    (cycle * 400 + year + i64::from(month <= 2), month, of_month)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// A part of a date or time of day.
pub(crate) type DatePart = fn(i64) -> f64;

fn days(seconds: i64) -> i64 {
    seconds.div_euclid(86_400)
}

fn year(seconds: i64) -> f64 {
    civil(days(seconds)).0 as f64
}

fn month(seconds: i64) -> f64 {
    civil(days(seconds)).1 as f64
}

fn day_of_month(seconds: i64) -> f64 {
    civil(days(seconds)).2 as f64
}

/// Sunday is 0; the epoch was a Thursday.
fn day_of_week(seconds: i64) -> f64 {
    (days(seconds) + 4).rem_euclid(7) as f64
}

fn day_of_year(seconds: i64) -> f64 {
    let (year, month, day) = civil(days(seconds));
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][(month - 1) as usize];
    (before + day + i64::from(month > 2 && is_leap(year))) as f64
}

fn days_in_month(seconds: i64) -> f64 {
    let (year, month, _) = civil(days(seconds));
    match month {
        2 if is_leap(year) => 29.0,
        2 => 28.0,
        4 | 6 | 9 | 11 => 30.0,
        _ => 31.0,
    }
}

fn hour(seconds: i64) -> f64 {
    (seconds.rem_euclid(86_400) / 3_600) as f64
}

fn minute(seconds: i64) -> f64 {
    (seconds.rem_euclid(3_600) / 60) as f64
}

/// Finds a function of a time in seconds.
pub(crate) fn date_part(name: &str) -> Option<DatePart> {
    Some(match name {
        "year" => year,
        "month" => month,
        "day_of_month" => day_of_month,
        "day_of_week" => day_of_week,
        "day_of_year" => day_of_year,
        "days_in_month" => days_in_month,
        "hour" => hour,
        "minute" => minute,
        _ => return None,
    })
}

/// Applies a function to a time given as a float of seconds, cut towards zero; beyond ±10^15 (30 million years) the
/// nearest time in that range is used.
pub(crate) fn of_float(part: DatePart, seconds: f64) -> f64 {
    part(seconds.clamp(-1e15, 1e15) as i64)
}

/// A time as `2006-01-02T15:04:05Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let seconds = seconds.clamp(-1_000_000_000_000_000, 1_000_000_000_000_000);
    let (year, month, day) = civil(days(seconds));
    let of_day = seconds.rem_euclid(86_400);
    let hour = of_day / 3_600;
    let minute = of_day / 60 % 60;
    let second = of_day % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339(1_136_239_445), "2006-01-02T22:04:05Z");
        assert_eq!(day_of_year(951_868_800), 61.0);
        assert_eq!(day_of_week(1_136_239_445), 1.0);
        assert_eq!(days_in_month(951_782_400), 29.0);
        assert_eq!((hour(1_136_239_445), minute(1_136_239_445)), (22.0, 4.0));
    }

    #[test]
    fn agrees_with_a_calendar_library_on_many_days() {
        for day in (-800_000..800_000).step_by(97) {
            let date = jiff::civil::date(1970, 1, 1) + jiff::ToSpan::days(day);
            let (year, month, of_month) = civil(day);
            assert_eq!(
                (year, month, of_month),
                (date.year().into(), date.month().into(), date.day().into()),
                "{day}"
            );
            assert_eq!(day_of_year(day * 86_400), f64::from(date.day_of_year()));
        }
    }
}
