//! moto: an S3 server that installs from a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::find;
use super::process::Process;
use crate::client::Client;
use crate::ports::free_port;
use crate::verdict::left_out;
use crate::wait::until;

/// The server checks no signatures, but answers strangers only for public objects.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request, \
     SignedHeaders=host, Signature=0000000000000000000000000000000000000000000000000000000000000000";

/// A running S3 server with one empty bucket.
pub struct Moto {
    client: Client,
    bucket: String,
    process: Process,
}

impl Moto {
    /// The server's program: `TRIREME_MOTO`, or `moto_server` on the path; nothing after the test was reported left out.
    pub fn installed(test: &str) -> Option<PathBuf> {
        let path = std::env::var_os("TRIREME_MOTO")
            .map(PathBuf::from)
            .filter(|path| path.is_file());

        let found = path.or_else(|| find("moto_server"));
        if found.is_none() {
            left_out(
                test,
                "no S3 server: moto_server not installed (scripts/test says how)",
            );
        }

        found
    }

    /// Starts the server and makes the bucket.
    pub async fn start(program: &Path, dir: &Path, bucket: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);

        let mut process = Process::start("moto", dir, command)?;
        let client = Client::new(port)?;
        until("the S3 server has made the bucket", async || {
            process.must_run()?;
            let made = client
                .send(
                    client
                        .put(&format!("/{bucket}"))
                        .header("Authorization", AUTHORIZATION),
                )
                .await?;
            ensure!(made.is_success(), "answered {}: {}", made.status, made.body);
            Ok(())
        })
        .await?;

        Ok(Self {
            client,
            bucket: bucket.to_owned(),
            process,
        })
    }

    /// Address for `bucket.endpoint`.
    pub fn endpoint(&self) -> &str {
        self.client.url()
    }

    /// Every object by its key.
    pub async fn objects(&mut self) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        self.process.must_run()?;
        let list = self.get("?list-type=2").await?;
        let list = String::from_utf8(list).context("list of objects")?;
        ensure!(
            list.contains("<IsTruncated>false"),
            "more than one page of objects"
        );

        let mut objects = BTreeMap::new();
        for part in list.split("<Key>").skip(1) {
            let (key, _) = part.split_once("</Key>").context("list of objects")?;
            objects.insert(key.to_owned(), self.get(&format!("/{key}")).await?);
        }

        Ok(objects)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let request = self
            .client
            .get(&format!("/{}{path}", self.bucket))
            .header("Authorization", AUTHORIZATION);
        let answer = request.send().await?;
        ensure!(
            answer.status().is_success(),
            "GET {path}: {}",
            answer.status()
        );

        Ok(answer.bytes().await?.to_vec())
    }
}
