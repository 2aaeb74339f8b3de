//! Counters that a receiver shows about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};

use super::http::{Client, Target};

/// Chosen counters of some `/metrics` pages, in sum over all pages and label sets.
pub struct Counters {
    pages: Vec<Client>,
    names: Vec<String>,
}

impl Counters {
    /// Nothing is read yet.
    pub fn new(urls: &[String], names: &[String]) -> anyhow::Result<Self> {
        Ok(Self {
            pages: urls
                .iter()
                .map(|url: &String| Ok(Client::new(Target::parse(url)?, Duration::from_secs(30))))
                .collect::<anyhow::Result<_>>()?,
            names: names.to_vec(),
        })
    }

    /// The counters now. One that a page does not show counts as 0.
    pub fn read(&mut self) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut sums: BTreeMap<String, f64> =
            self.names.iter().map(|name| (name.clone(), 0.0)).collect();
        for page in &mut self.pages {
            let path = page.path().to_string();
            let response = page
                .send("GET", &path, "", b"")
                .context("cannot read metrics")?;
            if response.status / 100 != 2 {
                bail!("cannot read metrics: HTTP {}", response.status);
            }
            add(&mut sums, &String::from_utf8_lossy(&response.body));
        }

        Ok(sums)
    }
}

/// What was counted from `before` to `after`.
pub fn growth(
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
) -> BTreeMap<String, f64> {
    after
        .iter()
        .map(|(name, value)| {
            (
                name.clone(),
                value - before.get(name).copied().unwrap_or(0.0),
            )
        })
        .collect()
}

fn add(sums: &mut BTreeMap<String, f64>, page: &str) {
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name_end = line.find(['{', ' ']).unwrap_or(line.len());
        let Some(sum) = sums.get_mut(&line[..name_end]) else {
            continue;
        };
        // Label values may hold spaces and braces, so the value is looked for behind the last brace.
        let behind = line.rfind('}').map_or(name_end, |brace| brace + 1);
        let value = line[behind..]
            .split_ascii_whitespace()
            .next()
            .and_then(|text| text.parse::<f64>().ok());
        *sum += value.unwrap_or(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_label_sets_and_ignores_other_names() {
        let page = "# TYPE a_total counter\na_total{x=\"1 } 2\"} 3 1700000000\na_total{x=\"y\"} 4\na_totals 5\nb_total 2.5\n";
        let mut sums = BTreeMap::from([("a_total".to_string(), 1.0), ("b_total".to_string(), 0.0)]);
        add(&mut sums, page);
        assert_eq!(
            sums,
            BTreeMap::from([("a_total".to_string(), 8.0), ("b_total".to_string(), 2.5)])
        );

        let grown = growth(&BTreeMap::from([("a_total".to_string(), 1.0)]), &sums);
        assert_eq!(grown["a_total"], 7.0);
    }
}
