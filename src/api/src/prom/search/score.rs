//! How well a text matches a term: above 0 if at all, 1 for the best.

/// How texts are compared with terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// All characters in order, the fewer between them the better.
    Subsequence,
    /// As a part, else by Jaro and Winkler's similarity.
    JaroWinkler,
}

impl Algorithm {
    /// The score if it is at least `threshold` (0 to 1).
    pub(super) fn score(self, term: &str, text: &str, threshold: f64) -> Option<f64> {
        let score = match self {
            Self::Subsequence => subsequence(term, text),
            Self::JaroWinkler => part(term, text).or_else(|| {
                // Without a threshold everything would match.
                (threshold > 0.0).then(|| jaro_winkler(term, text))
            }),
        };
        score.filter(|score| *score > 0.0 && *score >= threshold)
    }
}

/// What only contains the term must not come out even with what is equal to it.
const NOT_EQUAL: f64 = 0.999;

fn subsequence(term: &str, text: &str) -> Option<f64> {
    if text.starts_with(term) {
        return Some(1.0);
    }

    let (term, text): (Vec<char>, Vec<char>) = (term.chars().collect(), text.chars().collect());
    let first = *term.first()?;
    let starts = (0..text.len()).filter(|at| text[*at] == first);
    let best = starts
        .filter_map(|at| from(&term, &text, at))
        .fold(f64::NEG_INFINITY, f64::max);

    (best > f64::NEG_INFINITY).then_some(best * NOT_EQUAL)
}

/// The score of the first way to find the term's characters from a place on.
fn from(term: &[char], text: &[char], start: usize) -> Option<f64> {
    let length = text.len() as f64;
    let mut squares = 0.0;
    let mut gaps = start;
    let mut run = 0usize;

    let mut next = start;
    for c in term {
        let skipped = text[next..].iter().position(|other| other == c)?;
        if skipped > 0 {
            squares += (run * run) as f64;
            (run, gaps) = (0, gaps + skipped);
        }
        run += 1;
        next += skipped + 1;
    }

    squares += (run * run) as f64;

    let trailing = (text.len() - next) as f64;
    let whole = (term.len() * term.len()) as f64;
    Some((squares - gaps as f64 / length - trailing / (2.0 * length)) / whole)
}

/// The score of a term that is a part of the text: the further left the better.
fn part(term: &str, text: &str) -> Option<f64> {
    let at = text.find(term)?;
    if at == 0 {
        return Some(1.0);
    }
    let at = text[..at].chars().count() as f64;
    let rest = (text.chars().count() - term.chars().count()) as f64;
    Some(1.0 - 0.9 * at / rest)
}

/// Most characters of a common beginning that count.
const PREFIX_MAX: usize = 4;

fn jaro_winkler(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let jaro = jaro(&a, &b);
    let prefix = a
        .iter()
        .zip(&b)
        .take(PREFIX_MAX)
        .take_while(|(x, y)| x == y)
        .count();

    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

fn jaro(a: &[char], b: &[char]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }

    let (matched_a, taken) = common(a, b);
    if matched_a.is_empty() {
        return 0.0;
    }
    let matched_b = b
        .iter()
        .zip(&taken)
        .filter(|(_, taken)| **taken)
        .map(|(c, _)| c);

    let swapped = matched_a
        .iter()
        .zip(matched_b)
        .filter(|(x, y)| x != y)
        .count() as f64
        / 2.0;

    let m = matched_a.len() as f64;
    (m / a.len() as f64 + m / b.len() as f64 + (m - swapped) / m) / 3.0
}

/// The characters of `a` that `b` has too, not too far off; and true for each of `b` that is one of them.
fn common(a: &[char], b: &[char]) -> (Vec<char>, Vec<bool>) {
    let reach = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];

    let mut matched_a = Vec::new();
    for (i, c) in a.iter().enumerate() {
        let near = i.saturating_sub(reach)..b.len().min(i + reach + 1);
        if let Some(at) = near.into_iter().find(|at| !taken[*at] && b[*at] == *c) {
            taken[at] = true;
            matched_a.push(*c);
        }
    }

    (matched_a, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stay_between_0_and_1_for_any_text() {
        let mut rng = trireme_base::SeededRng::new(7);
        let mut text = |most: u64| -> String {
            let letters = ['a', 'b', '_', 'é', '温'];
            (0..rng.below(most))
                .map(|_| letters[rng.below(letters.len() as u64) as usize])
                .collect()
        };

        for _ in 0..20_000 {
            let term = text(6) + "a";
            let text = text(12);
            for algorithm in [Algorithm::Subsequence, Algorithm::JaroWinkler] {
                let score = algorithm.score(&term, &text, 0.01);
                assert!(
                    score.is_none_or(|score| (0.01..=1.0).contains(&score)),
                    "{term} in {text}: {score:?}"
                );
            }
        }
    }

    #[test]
    fn scores_are_those_of_prometheus() {
        let cases = [
            (
                Algorithm::Subsequence,
                "total",
                "c_total",
                0.0,
                Some(0.987_582_857_142_857_2),
            ),
            (
                Algorithm::Subsequence,
                "total",
                "m1_total",
                0.0,
                Some(0.984_015),
            ),
            (
                Algorithm::Subsequence,
                "reqtotal",
                "requests_total",
                0.0,
                Some(0.399_154_017_857_142_9),
            ),
            (
                Algorithm::Subsequence,
                "req",
                "requests_total",
                0.0,
                Some(1.0),
            ),
            (Algorithm::Subsequence, "xyz", "requests_total", 0.0, None),
            (Algorithm::Subsequence, "total", "c_total", 0.99, None),
            (
                Algorithm::JaroWinkler,
                "requets_total",
                "requests_total",
                0.5,
                Some(0.970_329_670_329_670_2),
            ),
            (
                Algorithm::JaroWinkler,
                "requets_total",
                "requests_total",
                0.0,
                None,
            ),
            (Algorithm::JaroWinkler, "total", "a_total", 0.0, Some(0.1)),
        ];
        for (algorithm, term, text, threshold, want) in cases {
            let got = algorithm.score(term, text, threshold);
            let near = got
                .zip(want)
                .is_some_and(|(got, want)| (got - want).abs() < 1e-12);
            assert!(
                near || got == want,
                "{algorithm:?} {term} in {text}: {got:?}, not {want:?}"
            );
        }
    }
}
