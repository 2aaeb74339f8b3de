//! Clients that ask and then do not behave: they do not read, read slowly, or hang up.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Url;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;

/// A query that takes many seconds of computing and reads nothing.
pub const HEAVY_QUERY: &str =
    "sum_over_time(quantile_over_time(0.5, sin(vector(time()))[6h:10s])[7d:10s])";

/// Parameters as the body of a form.
pub(crate) fn encode_form(parameters: &[(&str, &str)]) -> anyhow::Result<String> {
    Ok(Url::parse_with_params("http://form", parameters)?
        .query()
        .unwrap_or_default()
        .to_owned())
}

/// A selector with a hundred patterns that are large when compiled, and different for each `number`.
pub fn costly_selector(number: usize) -> String {
    let patterns: Vec<String> = (0..100)
        .map(|n| format!(r#"a=~"\\pL{{200}}{number}-{n}""#))
        .collect();
    format!("{{{}}}", patterns.join(","))
}

/// A question that was sent on a connection of its own, and whose answer nobody has read yet.
pub struct Asker(TcpStream);

impl Asker {
    /// Posts a form for a tenant.
    pub async fn post(
        client: &Client,
        tenant: &str,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(client.address()).await?;
        let body = encode_form(parameters)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nTHANOS-TENANT: {tenant}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );

        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        Ok(Self(stream))
    }

    /// Reads the status, and no more, at most for `wait`.
    pub async fn status(&mut self, wait: Duration) -> anyhow::Result<u16> {
        let mut line = [0; 12];
        let read = self.0.read_exact(&mut line);
        tokio::time::timeout(wait, read)
            .await
            .context("no answer begins")??;

        let text = String::from_utf8_lossy(&line).into_owned();
        ensure!(text.starts_with("HTTP/1.1 "), "not an answer: {text:?}");
        text[9..]
            .parse()
            .with_context(|| format!("status in {text:?}"))
    }

    /// Says that nothing more will be sent, as a client that is killed does; its end of the connection stays open.
    pub async fn hang_up(&mut self) -> anyhow::Result<()> {
        Ok(self.0.shutdown().await?)
    }
}

impl Client {
    /// Queries of a tenant that are under way.
    pub async fn running(&self, tenant: &str) -> anyhow::Result<usize> {
        let request = self
            .get("/api/v1/status/queries")
            .header("THANOS-TENANT", tenant);
        let answer: Json = serde_json::from_str(&self.send(request).await?.success()?.body)?;
        let queries = answer["data"]
            .as_array()
            .or_else(|| answer["data"]["queries"].as_array());

        Ok(queries
            .with_context(|| format!("no list of queries in {answer}"))?
            .len())
    }
}
