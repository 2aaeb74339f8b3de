//! Names on one host: made once per host and scrape, shared by all of its series.

use super::family::{ContainerPart, Job, Text};
use super::value::mix;

const SERVICES: &[(&str, &str)] = &[
    ("checkout", "shop"),
    ("ledger", "payments"),
    ("search-indexer", "search"),
    ("gateway", "edge"),
    ("recommendation-api", "shop"),
    ("session-cache", "platform"),
    ("coredns", "kube-system"),
    ("fluent-bit", "logging"),
    ("notification-worker", "messaging"),
    ("inventory-sync", "warehouse"),
];
/// Hosts in one cluster.
const CLUSTER_HOSTS: u32 = 250;
/// Letters and digits of generated pod suffixes, as Kubernetes picks them.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The names that identify one host, its exporters and its containers.
pub struct HostNames {
    cluster: String,
    node: String,
    address: String,
    exporter_pod: String,
    containers: Vec<ContainerNames>,
}

struct ContainerNames {
    container: &'static str,
    namespace: &'static str,
    pod: String,
    image: String,
    cgroup_id: String,
    runtime_name: String,
}

impl HostNames {
    /// Names of host `host` in its `generation`-th life (a replaced host shares no name with the one before).
    pub fn new(host: u32, generation: u32, containers: usize) -> Self {
        let id = mix((u64::from(generation) << 32) | u64::from(host));
        let address = format!(
            "10.{}.{}.{}",
            generation % 200 + 16,
            (host / 250) % 256,
            host % 250 + 2
        );

        let containers = (0..containers)
            .map(|i| container(mix(id ^ (i as u64 + 1)), i))
            .collect();

        Self {
            cluster: format!("prod-eu-{}", host / CLUSTER_HOSTS + 1),
            node: format!("worker-{host:05}-{}.fra1.example.net", suffix(id, 5)),
            exporter_pod: format!("prometheus-node-exporter-{}", suffix(mix(id), 5)),
            address,
            containers,
        }
    }

    /// The text of a label value on this host.
    pub fn text<'a>(&'a self, text: &'a Text, scratch: &'a mut String) -> &'a str {
        match text {
            Text::Fixed(text) => text,
            Text::Cluster => &self.cluster,
            Text::Node => &self.node,
            Text::ExporterPod => &self.exporter_pod,
            Text::Instance(job) => {
                scratch.clear();
                scratch.push_str(&self.address);
                scratch.push_str(if *job == Job::NodeExporter {
                    ":9100"
                } else {
                    ":10250"
                });
                scratch
            }
            Text::Container(index, part) => self.containers[*index].part(*part),
        }
    }
}

impl ContainerNames {
    fn part(&self, part: ContainerPart) -> &str {
        match part {
            ContainerPart::Container => self.container,
            ContainerPart::Pod => &self.pod,
            ContainerPart::Namespace => self.namespace,
            ContainerPart::Image => &self.image,
            ContainerPart::CgroupId => &self.cgroup_id,
            ContainerPart::RuntimeName => &self.runtime_name,
        }
    }
}

fn container(id: u64, index: usize) -> ContainerNames {
    let (container, namespace) = SERVICES[index % SERVICES.len()];
    let a = mix(id ^ 11);
    let b = mix(id ^ 12);
    let c = mix(id ^ 13);
    let d = mix(id ^ 14);
    let runtime_name = format!("{a:016x}{b:016x}{c:016x}{d:016x}");
    let uid = format!(
        "{:08x}_{:04x}_4{:03x}_a{:03x}_{:012x}",
        a as u32,
        b as u16,
        c & 0xfff,
        d & 0xfff,
        a >> 16
    );

    let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod";
    ContainerNames {
        container,
        namespace,
        pod: format!(
            "{container}-{}-{}",
            suffix(mix(index as u64), 10),
            suffix(id, 5)
        ),
        image: format!(
            "registry.example.net/{namespace}/{container}:v1.{}.3",
            index + 14
        ),
        cgroup_id: format!("{slice}{uid}.slice/cri-containerd-{runtime_name}.scope"),
        runtime_name,
    }
}

fn suffix(mut bits: u64, letters: usize) -> String {
    (0..letters)
        .map(|_| {
            let letter = SUFFIX[(bits % SUFFIX.len() as u64) as usize];
            bits /= SUFFIX.len() as u64;
            char::from(letter)
        })
        .collect()
}
