//! The counter column of floats as samples that look like those of the counter itself.
//!
//! Its values grow over resets: what a reset took away is in them still. Only the first and the last sample are those of the
//! series. Given as they are, a query would take the fall between two chunks for one more reset. So the fall is put where it
//! was: with `lost`, what all resets of the chunk took away together, the values up to it are given as they are, then one
//! sample of exactly that value and one of 0, and from there on all less by it. The sum of all rises is the same, and both
//! ends are true: chunks, blocks and raw samples may stand side by side in any order, and every reader that knows resets
//! counts right.

/// Gives the samples of a counter column to `push`, times rising.
pub(super) fn restore(times: &[i64], values: &[f64], mut push: impl FnMut(i64, f64)) {
    let Some(ends) = Ends::of(times, values) else {
        return;
    };
    let mut before: Option<i64> = None;

    let mut has_fallen = false;
    for (at, (t, v)) in times.iter().zip(values).enumerate() {
        // Of several at one time the last is the true one.
        if times.get(at + 1).is_some_and(|next| next <= t) {
            continue;
        }

        let is_last = at + 1 == times.len();
        let value = ends.restored(*v, is_last);

        if ends.has_reset && !has_fallen && (is_last || *v > ends.lost) {
            let fall = [(1, ends.lost), (2, 0.0)];
            let fall = fall.map(|(after, v)| (before.unwrap_or(*t).saturating_add(after), v));
            fall.into_iter()
                .filter(|(at, _)| at < t)
                .for_each(|(at, v)| push(at, v));
            has_fallen = true;
        }

        push(*t, value);
        before = Some(*t);
    }
}

/// What the end of a column says about all of it.
struct Ends {
    last: f64,
    /// The last time is there twice.
    is_twice: bool,
    /// What resets took away.
    lost: f64,
    has_reset: bool,
}

impl Ends {
    fn of(times: &[i64], values: &[f64]) -> Option<Self> {
        let first = values.first()?;
        let last = *values.last()?;

        let is_twice = times.len() > 1 && times[times.len() - 2] == times[times.len() - 1];
        let lost = if is_twice {
            values[values.len() - 2] - last
        } else {
            0.0
        };

        Some(Self {
            last,
            is_twice,
            lost,
            // What resets take away is no less than the value before the first of them. Less than that is the error of sums.
            has_reset: lost > 0.0 && lost >= *first,
        })
    }

    /// The value of the counter where the column has `v`.
    fn restored(&self, v: f64, is_last: bool) -> f64 {
        match self.has_reset {
            _ if is_last => self.last,
            false if self.is_twice => v.min(self.last),
            true if v > self.lost => (v - self.lost).min(self.last),
            _ => v,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(samples: &[(i64, f64)]) -> Vec<(i64, f64)> {
        let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        let mut out = Vec::new();
        restore(&times, &values, |t, v| out.push((t, v)));
        out
    }

    /// What `increase` finds between the first and the last sample.
    fn rise(samples: &[(i64, f64)]) -> f64 {
        samples
            .windows(2)
            .map(|w| {
                if w[1].1 < w[0].1 {
                    w[1].1
                } else {
                    w[1].1 - w[0].1
                }
            })
            .sum()
    }

    #[test]
    fn a_reset_is_put_back_where_it_was() {
        // 5, 8 | 10, reset, 1 | 4, 6
        let stored = [(10, 5.0), (299, 8.0), (599, 11.0), (899, 16.0), (899, 6.0)];
        let given = restored(&stored);

        assert_eq!(
            given,
            [
                (10, 5.0),
                (299, 8.0),
                (300, 10.0),
                (301, 0.0),
                (599, 1.0),
                (899, 6.0)
            ]
        );

        assert_eq!(rise(&given), 11.0);
    }

    #[test]
    fn without_a_reset_values_stay_and_errors_of_sums_make_none() {
        assert_eq!(
            restored(&[(1, 5.0), (299, 8.0), (299, 8.0)]),
            [(1, 5.0), (299, 8.0)]
        );

        let sum = 0.1 + 0.2 + 0.3;
        let given = restored(&[(1, 0.1), (299, sum), (599, sum), (599, 0.6)]);
        assert_eq!(given, [(1, 0.1), (299, 0.6), (599, 0.6)]);
        assert_eq!(restored(&[(1, 5.0), (299, 8.0)]), [(1, 5.0), (299, 8.0)]);
        assert_eq!(restored(&[(7, 3.0), (7, 3.0), (7, 3.0)]), [(7, 3.0)]);
        assert_eq!(restored(&[(7, 3.0)]), [(7, 3.0)]);
        assert_eq!(restored(&[]), []);
    }

    #[test]
    fn a_counter_that_is_higher_after_the_reset_than_before_has_fallen_nevertheless() {
        assert_eq!(
            rise(&restored(&[(10, 1.0), (299, 101.0), (299, 100.0)])),
            100.0
        );
    }

    #[test]
    fn many_resets_in_one_chunk_add_up() {
        // 5 | 9, reset, 2 | 7, reset, 0, 1 | 3
        let stored = [(0, 5.0), (299, 11.0), (599, 17.0), (899, 19.0), (899, 3.0)];
        let given = restored(&stored);

        assert_eq!(rise(&given), 14.0, "{given:?}");
        assert_eq!(
            (given[0], *given.last().expect("some")),
            ((0, 5.0), (899, 3.0))
        );
    }
}
