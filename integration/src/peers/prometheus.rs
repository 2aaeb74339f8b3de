//! Debian's Prometheus: a sender, a receiver to compare with, and a reader of blocks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use super::process::Process;
use crate::client::Client;
use crate::ports::free_port;
use crate::protocol::{read_request, read_response};
use crate::samples::SampleSet;
use crate::wait::until;

/// Says what a Prometheus does.
pub struct PrometheusBuilder {
    program: PathBuf,
    dir: PathBuf,
    data: PathBuf,
    targets: Vec<u16>,
    scrapes_itself: bool,
    remote_writes: Vec<String>,
    remote_read: Option<String>,
    federation: Option<(u16, String)>,
    out_of_order: Option<String>,
    keeps_exemplars: bool,
}

impl PrometheusBuilder {
    /// Scrapes a target on loopback every second.
    pub fn scrape(mut self, port: u16) -> Self {
        self.targets.push(port);
        self
    }

    /// Scrapes its own metrics.
    pub fn scrape_itself(mut self) -> Self {
        self.scrapes_itself = true;
        self
    }

    /// Sends everything to a URL.
    pub fn remote_write(mut self, url: &str) -> Self {
        self.remote_writes.push(url.to_owned());
        self
    }

    /// Reads all series it does not hold itself from a remote read URL, recent times included.
    pub fn remote_read(mut self, url: &str) -> Self {
        self.remote_read = Some(url.to_owned());
        self
    }

    /// Scrapes `/federate` of a server on loopback every second for what `selector` matches.
    pub fn federate(mut self, port: u16, selector: &str) -> Self {
        self.federation = Some((port, selector.to_owned()));
        self
    }

    /// Accepts samples older than the newest one by up to `window`, for example `3h`.
    pub fn out_of_order(mut self, window: &str) -> Self {
        self.out_of_order = Some(window.to_owned());
        self
    }

    /// Keeps the exemplars that it scrapes, and sends them on.
    pub fn exemplars(mut self) -> Self {
        self.keeps_exemplars = true;
        self
    }

    /// Uses an existing data directory.
    pub fn data(mut self, dir: &Path) -> Self {
        self.data = dir.to_owned();
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> anyhow::Result<Prometheus> {
        let port = free_port()?;
        std::fs::create_dir_all(&self.dir)?;
        let config = self.dir.join("prometheus.yml");

        std::fs::write(&config, self.config(port))?;
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", self.data.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver")
            .current_dir(&self.dir);

        if self.keeps_exemplars {
            command.arg("--enable-feature=exemplar-storage");
        }

        let mut process = Process::start("prometheus", &self.dir, command)?;
        let client = Client::new(port)?;
        until("Prometheus is ready", async || {
            process.must_run()?;
            ensure!(client.is_ready().await, "not yet");
            Ok(())
        })
        .await?;

        Ok(Prometheus {
            client,
            port,
            _process: process,
        })
    }

    fn config(&self, own_port: u16) -> String {
        let own = self.scrapes_itself.then_some(own_port);

        let mut text =
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n".to_owned();
        for port in own.iter().chain(&self.targets) {
            let name = if Some(*port) == own {
                "prometheus".to_owned()
            } else {
                format!("target-{port}")
            };
            text += &format!(
                "- job_name: {name}\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
            );
        }

        if let Some((port, selector)) = &self.federation {
            text += "- job_name: federation\n  metrics_path: /federate\n  honor_labels: true\n";
            text += &format!("  params:\n    'match[]': ['{selector}']\n");
            text += &format!("  static_configs:\n  - targets: ['127.0.0.1:{port}']\n");
        }

        if let Some(window) = &self.out_of_order {
            text += &format!("storage:\n  tsdb:\n    out_of_order_time_window: {window}\n");
        }

        if let Some(url) = &self.remote_read {
            text += &format!("remote_read:\n- url: {url}\n  read_recent: true\n");
        }

        text += "remote_write:\n";
        for url in &self.remote_writes {
            let exemplars = self.keeps_exemplars;
            text += &format!("- url: {url}\n  send_exemplars: {exemplars}\n");
            text += "  queue_config:\n    batch_send_deadline: 1s\n";
        }

        text
    }
}

/// A running Prometheus.
pub struct Prometheus {
    client: Client,
    port: u16,
    _process: Process,
}

impl Prometheus {
    /// A Prometheus to be started, with its files in `dir`.
    pub fn in_dir(program: &Path, dir: &Path) -> PrometheusBuilder {
        PrometheusBuilder {
            program: program.to_owned(),
            dir: dir.to_owned(),
            data: dir.join("data"),
            targets: Vec::new(),
            scrapes_itself: false,
            remote_writes: Vec::new(),
            remote_read: None,
            federation: None,
            out_of_order: None,
            keeps_exemplars: false,
        }
    }

    /// Client of its API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Raw samples it holds with timestamps in `start..end`, stale markers included, by remote read.
    pub async fn stored(&self, start: i64, end: i64) -> anyhow::Result<SampleSet> {
        let request = self
            .client
            .post("/api/v1/read")
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Read-Version", "0.1.0")
            .body(read_request(start, end - 1)?);

        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(
            status.is_success(),
            "remote read answered {status}: {}",
            String::from_utf8_lossy(&body)
        );

        Ok(read_response(&body)?.between(start, end))
    }
}
