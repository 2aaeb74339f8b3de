//! A line of text that shows the course of a series.

/// Heights from lowest to highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The course of `values` in at most `width` characters: each shows the mean of its share of the values, a gap is a
/// space, and a constant stays at the bottom.
pub fn spark(values: &[Option<f64>], width: usize) -> String {
    let width = width.min(values.len());
    let columns: Vec<Option<f64>> = (0..width)
        .map(|column| {
            let from = column * values.len() / width;
            let to = (column + 1) * values.len() / width;
            mean(&values[from..to])
        })
        .collect();

    let low = columns
        .iter()
        .flatten()
        .copied()
        .fold(f64::INFINITY, f64::min);

    let high = columns
        .iter()
        .flatten()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);

    columns
        .iter()
        .map(|column| column.map_or(' ', |value| bar(value, low, high)))
        .collect()
}

/// Of the values that are there and finite.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let there: Vec<f64> = values
        .iter()
        .flatten()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    (!there.is_empty()).then(|| there.iter().sum::<f64>() / there.len() as f64)
}

fn bar(value: f64, low: f64, high: f64) -> char {
    let share = if high > low {
        (value - low) / (high - low)
    } else {
        0.0
    };
    BARS[((share * 7.0).round() as usize).min(7)]
}

#[cfg(test)]
mod tests {
    use super::spark;

    #[test]
    fn shows_course_gaps_and_constants() {
        let some = |values: &[f64]| values.iter().map(|v| Some(*v)).collect::<Vec<_>>();
        assert_eq!(
            spark(&some(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 60),
            "▁▂▃▄▅▆▇█"
        );
        assert_eq!(spark(&some(&[0.0, 0.0, 7.0, 7.0]), 2), "▁█");
        assert_eq!(spark(&some(&[5.0, 5.0]), 9), "▁▁");
        assert_eq!(
            spark(&[Some(1.0), None, Some(f64::NAN), Some(2.0)], 4),
            "▁  █"
        );
        assert_eq!(spark(&[], 10), "");
    }
}
