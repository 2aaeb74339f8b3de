//! Metric families of the generated fleet and how they unfold into series.

use super::value::Kind;

/// Which scrape job exposes a family; it decides the labels every series of it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    NodeExporter,
    Kubelet,
    Cadvisor,
}

impl Job {
    /// Position in the order of scrapes of one host; every job has its own scrape offset.
    pub fn index(self) -> u64 {
        match self {
            Job::NodeExporter => 0,
            Job::Kubelet => 1,
            Job::Cadvisor => 2,
        }
    }
}

/// Type of a metric, as its metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

/// Where the text of a label value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Text {
    /// The same on every host.
    Fixed(String),
    /// Name of the group of hosts.
    Cluster,
    /// Host name.
    Node,
    /// Address and port the host is scraped at.
    Instance(Job),
    /// Name of the exporter's pod.
    ExporterPod,
    /// A part of the name of the n-th container of the host.
    Container(usize, ContainerPart),
}

impl Text {
    fn fixed(text: &str) -> Self {
        Self::Fixed(text.to_string())
    }
}

/// Parts of a container's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerPart {
    Container,
    Pod,
    Namespace,
    Image,
    CgroupId,
    RuntimeName,
}

/// One metric name with the label values it has on a host.
pub struct Family {
    name: &'static str,
    kind: Kind,
    dimensions: Vec<(&'static str, Vec<String>)>,
    buckets: bool,
}

/// A series as it exists on every host: label names with the source of their values, sorted by name.
#[derive(Clone, Debug)]
pub struct Template {
    pub job: Job,
    pub kind: Kind,
    pub metric_type: MetricType,
    /// Sorted by label name, as senders must send them.
    pub labels: Vec<(&'static str, Text)>,
}

impl Family {
    /// A family with no labels of its own.
    pub fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            dimensions: Vec::new(),
            buckets: false,
        }
    }

    /// One series per value of `label`; several calls multiply.
    pub fn by(mut self, label: &'static str, values: &[&str]) -> Self {
        self.dimensions
            .push((label, values.iter().map(ToString::to_string).collect()));
        self
    }

    /// One series per number below `count`.
    pub fn numbered(mut self, label: &'static str, count: usize) -> Self {
        self.dimensions
            .push((label, (0..count).map(|i| i.to_string()).collect()));
        self
    }

    /// Cumulative histogram buckets; call last, so that `le` varies fastest and the kind becomes a bucket's share.
    pub fn buckets(mut self, bounds: &[&str]) -> Self {
        self.buckets = true;
        self.by("le", bounds)
    }

    /// The templates of this family under `job`, once per container for [`Job::Cadvisor`].
    pub fn templates(&self, job: Job, containers: usize) -> Vec<Template> {
        let mut made = Vec::new();

        let owners = if job == Job::Cadvisor { containers } else { 1 };
        for owner in 0..owners {
            let total: usize = self
                .dimensions
                .iter()
                .map(|(_, values)| values.len())
                .product();
            for number in 0..total {
                made.push(self.template(job, owner, number, total));
            }
        }

        made
    }

    fn template(&self, job: Job, owner: usize, number: usize, total: usize) -> Template {
        let mut labels = common_labels(job, owner);
        labels.push(("__name__", Text::Fixed(self.name.to_string())));
        let mut rest = number;

        let mut kind = self.kind;
        for (position, (label, values)) in self.dimensions.iter().enumerate().rev() {
            let index = rest % values.len();
            rest /= values.len();
            labels.push((label, Text::Fixed(values[index].clone())));
            if self.buckets && position + 1 == self.dimensions.len() {
                kind = kind.bucket(index, values.len());
            }
        }

        debug_assert!(number < total, "BUG: series number outside of its family");
        labels.sort_by(|a, b| a.0.cmp(b.0));
        let metric_type = match () {
            () if self.buckets => MetricType::Histogram,
            () if self.kind.is_counter() => MetricType::Counter,
            () => MetricType::Gauge,
        };

        Template {
            job,
            kind,
            metric_type,
            labels,
        }
    }
}

fn common_labels(job: Job, owner: usize) -> Vec<(&'static str, Text)> {
    let mut labels = vec![
        ("cluster", Text::Cluster),
        ("node", Text::Node),
        ("instance", Text::Instance(job)),
    ];

    match job {
        Job::NodeExporter => labels.extend([
            ("job", Text::fixed("node-exporter")),
            ("namespace", Text::fixed("monitoring")),
            ("pod", Text::ExporterPod),
            ("service", Text::fixed("prometheus-node-exporter")),
        ]),
        Job::Kubelet => labels.extend([
            ("job", Text::fixed("kubelet")),
            ("metrics_path", Text::fixed("/metrics")),
            ("namespace", Text::fixed("kube-system")),
            ("service", Text::fixed("kubelet")),
        ]),
        Job::Cadvisor => {
            labels.extend([
                ("job", Text::fixed("kubelet")),
                ("metrics_path", Text::fixed("/metrics/cadvisor")),
            ]);
            labels.extend(
                [
                    ("container", ContainerPart::Container),
                    ("pod", ContainerPart::Pod),
                    ("namespace", ContainerPart::Namespace),
                    ("image", ContainerPart::Image),
                    ("id", ContainerPart::CgroupId),
                    ("name", ContainerPart::RuntimeName),
                ]
                .map(|(name, part)| (name, Text::Container(owner, part))),
            );
        }
    }

    labels
}
