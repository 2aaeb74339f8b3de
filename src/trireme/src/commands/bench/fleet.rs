//! The generated fleet: hosts that look like Kubernetes workers under a node exporter, a kubelet and cAdvisor.
//!
//! Every host has the same 1,000 series, with names of its own in the labels. Nothing is remembered between
//! scrapes but how often each host was replaced: labels follow from (host, generation), values from (series,
//! scrape). So a million series cost the generator a few kilobytes.

pub mod cadvisor;
pub mod family;
pub mod kubelet;
pub mod names;
pub mod node_exporter;
pub mod value;

use family::{Family, Job, Template, Text};
use names::HostNames;
use value::{Kind, STALE, mix};

/// Containers on a host; with the two exporters this makes [`HOST_SERIES`] series.
const CONTAINERS: usize = 10;
/// Series of one host.
pub const HOST_SERIES: usize = 1_000;

/// Hosts with their series, and the time line of their scrapes.
pub struct Fleet {
    series: usize,
    interval_ms: i64,
    start_ms: i64,
    seed: u64,
    templates: Vec<Template>,
    groups: Vec<u64>,
    generations: Vec<u32>,
}

/// A host that was replaced: its old series end with a stale marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    host: u32,
    old_generation: u32,
}

/// One sample of one series.
pub struct Point<'a> {
    pub template: &'a Template,
    pub names: &'a HostNames,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    pub value: f64,
}

impl Fleet {
    /// A fleet of `series` active series, the last host perhaps with fewer than the others, scraped every
    /// `interval_ms`; scrape 0 begins at `start_ms`.
    pub fn new(series: usize, interval_ms: i64, start_ms: i64, seed: u64) -> Self {
        let templates = templates();
        let groups = templates.iter().map(group).collect();
        let hosts = series.div_ceil(HOST_SERIES);

        Self {
            series,
            interval_ms,
            start_ms,
            seed,
            templates,
            groups,
            generations: vec![0; hosts],
        }
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.generations.len()
    }

    /// Labels a series has on average.
    pub fn labels_per_series(&self) -> f64 {
        self.templates.iter().map(|t| t.labels.len()).sum::<usize>() as f64
            / self.templates.len() as f64
    }

    /// Replaces the next `share` (0 to 1) of the hosts, in turn over the whole fleet as `round` grows.
    pub fn replace(&mut self, share: f64, round: usize) -> Vec<Replaced> {
        let hosts = self.hosts();
        let count = ((hosts as f64 * share).round() as usize).clamp(1, hosts);
        (0..count)
            .map(|i| {
                let host = (round * count + i) % hosts;
                let old_generation = self.generations[host];
                self.generations[host] += 1;
                Replaced {
                    host: host as u32,
                    old_generation,
                }
            })
            .collect()
    }

    /// Series of a replaced host.
    pub fn series_of(&self, replaced: Replaced) -> usize {
        self.host_series(replaced.host as usize)
    }

    /// Gives every sample of scrape `number` to `each`, host by host.
    pub fn scrape(&self, number: u64, mut each: impl FnMut(&Point)) {
        for (host, generation) in self.generations.iter().enumerate() {
            self.host(host, *generation, number, false, &mut each);
        }
    }

    /// Gives the stale marker of every series of `replaced` to `each`, at the time of scrape `number`.
    pub fn end(&self, replaced: Replaced, number: u64, mut each: impl FnMut(&Point)) {
        self.host(
            replaced.host as usize,
            replaced.old_generation,
            number,
            true,
            &mut each,
        );
    }

    fn host_series(&self, host: usize) -> usize {
        (self.series - host * HOST_SERIES).min(HOST_SERIES)
    }

    fn host(
        &self,
        host: usize,
        generation: u32,
        number: u64,
        ended: bool,
        each: &mut impl FnMut(&Point),
    ) {
        let names = HostNames::new(host as u32, generation, CONTAINERS);
        let id = mix(self.seed ^ (u64::from(generation) << 32) ^ host as u64);

        let scraped_ms =
            self.start_ms + i64::try_from(number).unwrap_or(i64::MAX / 2) * self.interval_ms;
        for (index, template) in self
            .templates
            .iter()
            .enumerate()
            .take(self.host_series(host))
        {
            // Servers spread the scrapes of their targets over the interval.
            let offset_ms = mix(id ^ template.job.index()) % self.interval_ms.unsigned_abs().max(1);
            let series = mix(id ^ ((index as u64) << 20));
            let value = match ended {
                true => f64::from_bits(STALE),
                false => template.kind.value(series, id ^ self.groups[index], number),
            };
            let timestamp_ms = scraped_ms + i64::try_from(offset_ms).unwrap_or(0);

            each(&Point {
                template,
                names: &names,
                timestamp_ms,
                value,
            });
        }
    }
}

/// The `node` label of a host that was never replaced.
pub fn node_name(host: u32) -> String {
    HostNames::new(host, 0, 0)
        .text(&Text::Node, &mut String::new())
        .to_string()
}

/// The series of a host, in the order in which they are scraped.
fn templates() -> Vec<Template> {
    let jobs = [
        (Job::NodeExporter, node_exporter::families()),
        (Job::Kubelet, kubelet::families()),
        (Job::Cadvisor, cadvisor::families()),
    ];

    let mut made: Vec<Template> = Vec::with_capacity(HOST_SERIES + 200);
    for (job, families) in jobs {
        made.extend(
            families
                .iter()
                .flat_map(|family| family.templates(job, CONTAINERS)),
        );
        if job != Job::Cadvisor {
            made.extend(
                about_the_scrape()
                    .iter()
                    .flat_map(|family| family.templates(job, 1)),
            );
        }
    }

    made.truncate(HOST_SERIES);
    made
}

/// What the server itself adds for every target.
fn about_the_scrape() -> Vec<Family> {
    vec![
        Family::new("up", Kind::Constant(1.0)),
        Family::new("scrape_duration_seconds", Kind::RatioGauge),
        Family::new("scrape_samples_scraped", Kind::SmallGauge { below: 3 }),
        Family::new(
            "scrape_samples_post_metric_relabeling",
            Kind::SmallGauge { below: 3 },
        ),
        Family::new("scrape_series_added", Kind::Constant(0.0)),
    ]
}

/// Hash of the labels but `le`: the series of one histogram have it in common.
fn group(template: &Template) -> u64 {
    let fixed = template.labels.iter().filter(|(name, _)| *name != "le");

    let mut hash = 0;
    for (name, text) in fixed {
        let bytes = name.bytes().chain(match text {
            Text::Fixed(text) => text.bytes(),
            _ => "".bytes(),
        });
        hash = bytes.fold(hash, |hash, byte| mix(hash ^ u64::from(byte)));
    }

    hash
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn labels(point: &Point) -> String {
        let mut scratch = String::new();
        point
            .template
            .labels
            .iter()
            .map(|(name, text): &(&str, Text)| {
                format!("{name}={},", point.names.text(text, &mut scratch))
            })
            .collect()
    }

    #[test]
    fn every_series_is_there_once_and_has_sorted_labels() {
        let fleet = Fleet::new(2_500, 15_000, 0, 1);
        let mut seen = HashSet::new();
        fleet.scrape(0, |point| {
            assert!(
                point.template.labels.windows(2).all(|w| w[0].0 < w[1].0),
                "unsorted: {:?}",
                point.template
            );
            assert!(seen.insert(labels(point)), "twice: {}", labels(point));
        });

        assert_eq!(seen.len(), 2_500);
        assert!(
            (9.0..=12.0).contains(&fleet.labels_per_series()),
            "{}",
            fleet.labels_per_series()
        );
    }

    #[test]
    fn a_replaced_host_shares_no_series_with_the_one_before() {
        let mut fleet = Fleet::new(3_000, 15_000, 0, 1);
        let mut before = HashSet::new();
        fleet.scrape(0, |point| {
            before.insert(labels(point));
        });

        let replaced = fleet.replace(0.34, 0);
        assert_eq!(replaced.len(), 1);
        let mut ended = 0;

        fleet.end(replaced[0], 1, |point| {
            assert!(before.contains(&labels(point)));
            assert_eq!(point.value.to_bits(), STALE);
            ended += 1;
        });

        let mut fresh = 0;
        fleet.scrape(1, |point| {
            fresh += usize::from(!before.contains(&labels(point)))
        });
        assert_eq!((ended, fresh), (1_000, 1_000));
    }

    #[test]
    fn kinds_of_values_have_realistic_shares() {
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        for template in templates() {
            let kind = match template.kind {
                Kind::Constant(_) | Kind::Capacity | Kind::StartTime => "constant",
                Kind::SmallGauge { .. } => "small gauge",
                Kind::Counter { .. } | Kind::Bucket { .. } => "integer counter",
                Kind::PagesGauge => "bytes",
                Kind::CentisecondCounter { .. } | Kind::HundredthsGauge { .. } => "two decimals",
                Kind::NanosecondCounter { .. } | Kind::RatioGauge => "full precision",
            };
            *shares.entry(kind).or_default() += 1;
        }

        assert_eq!(shares.values().sum::<usize>(), HOST_SERIES);
        let between = |kind: &str, low, high| (low..=high).contains(&shares[kind]);
        assert!(between("constant", 250, 450), "{shares:?}");
        assert!(between("small gauge", 50, 200), "{shares:?}");
        assert!(between("integer counter", 200, 400), "{shares:?}");
        assert!(between("bytes", 50, 150), "{shares:?}");
        assert!(between("two decimals", 50, 150), "{shares:?}");

        assert!(between("full precision", 80, 200), "{shares:?}");
    }
}
