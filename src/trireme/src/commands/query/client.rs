//! Client of Prometheus's HTTP API and of the admin API.

use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// A node with the default settings.
const DEFAULT_URL: &str = "http://127.0.0.1:19291";

/// Where to ask and as whom.
#[derive(clap::Args, Clone, Debug)]
pub struct ClientArgs {
    /// Node to ask.
    #[arg(long, env = "TRIREME_URL", default_value = DEFAULT_URL)]
    url: String,
    /// Tenant to ask for [default: the node's default tenant].
    #[arg(long, env = "TRIREME_TENANT")]
    tenant: Option<String>,
    /// Longest wait for the answer.
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl ClientArgs {
    /// What was typed so far, the rest from the environment or by default.
    pub fn for_completion(url: Option<String>, tenant: Option<String>, timeout: Duration) -> Self {
        let url = url.or_else(|| std::env::var("TRIREME_URL").ok());
        let tenant = tenant.or_else(|| std::env::var("TRIREME_TENANT").ok());
        Self {
            url: url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            tenant,
            timeout,
        }
    }
}

/// A client for one command: asks and waits.
pub struct Client {
    base: String,
    tenant: Option<String>,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Reply {
    /// The `data` field, or the whole answer of an admin path.
    pub data: Value,
    /// Warnings and infos, each with its kind in front.
    pub notes: Vec<String>,
}

impl Client {
    /// A client; nothing is connected yet.
    pub fn new(args: &ClientArgs) -> anyhow::Result<Self> {
        static TLS: Once = Once::new();

        // Fails only if a provider is set already, which is then as good.
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder()
            .timeout(args.timeout)
            .build()
            .context("cannot set up the HTTP client")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;

        Ok(Self {
            base: args.url.trim_end_matches('/').to_string(),
            tenant: args.tenant.clone(),
            http,
            runtime,
        })
    }

    /// Asks with the parameters in the URL.
    pub fn get(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Reply> {
        let query = if form.is_empty() {
            String::new()
        } else {
            format!("?{}", encode(form))
        };
        self.ask(self.http.get(format!("{}{path}{query}", self.base)), path)
    }

    /// Asks with the parameters in the body, where they may be long.
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Reply> {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(encode(form));
        self.ask(request, path)
    }

    /// Sends JSON; gives the whole answer of an admin path.
    pub fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base));
        Ok(self.ask(with_json(request, body), path)?.data)
    }

    /// As [`Client::post_json`], with DELETE.
    pub fn delete_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.delete(format!("{}{path}", self.base));
        Ok(self.ask(with_json(request, body), path)?.data)
    }

    fn ask(&self, mut request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<Reply> {
        if let Some(tenant) = &self.tenant {
            request = request.header("THANOS-TENANT", tenant);
        }

        let (status, body) = self.runtime.block_on(async {
            let response = request
                .send()
                .await
                .with_context(|| format!("cannot ask {}", self.base))?;
            let status = response.status();
            let body = response
                .bytes()
                .await
                .with_context(|| format!("the answer of {} broke off", self.base))?;
            anyhow::Ok((status, body))
        })?;

        parse(status.as_u16(), &body).with_context(|| format!("{}{path}", self.base))
    }
}

fn with_json(request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
    if body.is_null() {
        request
    } else {
        request.json(body)
    }
}

fn parse(status: u16, body: &[u8]) -> anyhow::Result<Reply> {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        let text: String = String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(500)
            .collect();
        bail!("HTTP {status}: {text}");
    };

    if let Some(error) = value.get("error").and_then(Value::as_str) {
        let kind = value
            .get("errorType")
            .and_then(Value::as_str)
            .unwrap_or("error");
        bail!("{kind}: {error}");
    }

    if status / 100 != 2 {
        bail!("HTTP {status}");
    }

    let notes = notes_of(&value);

    let enveloped = value.get("status").is_some() && value.get("data").is_some();
    let data = if enveloped {
        value["data"].take()
    } else {
        value
    };

    Ok(Reply { data, notes })
}

/// Warnings and infos of an answer.
fn notes_of(value: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    for (key, kind) in [("warnings", "warning"), ("infos", "info")] {
        let texts = value
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        notes.extend(texts.map(|text| format!("{kind}: {text}")));
    }

    notes
}

fn encode(form: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = form
        .iter()
        .map(|(key, value)| format!("{}={}", percent_encode(key), percent_encode(value)))
        .collect();
    pairs.join("&")
}

/// Text with everything but letters, digits and `-._~` as `%XX`.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }

    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_servers_reason() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"1:3: parse error"}"#;
        let error = parse(400, body).expect_err("refused");
        assert_eq!(error.to_string(), "bad_data: 1:3: parse error");
        assert_eq!(
            parse(502, b"<h1>bad gateway</h1>")
                .expect_err("refused")
                .to_string(),
            "HTTP 502: <h1>bad gateway</h1>"
        );
    }

    #[test]
    fn takes_data_and_warnings_out_of_the_envelope() {
        let body = br#"{"status":"success","data":["a"],"warnings":["one replica is away"],"infos":["rate of a gauge"]}"#;
        let reply = parse(200, body).expect("accepted");
        assert_eq!(reply.data, serde_json::json!(["a"]));
        assert_eq!(
            reply.notes,
            ["warning: one replica is away", "info: rate of a gauge"]
        );
        assert_eq!(
            parse(200, br#"{"epoch":3}"#).expect("accepted").data,
            serde_json::json!({"epoch": 3})
        );
    }

    #[test]
    fn encodes_every_byte_that_could_be_misread() {
        assert_eq!(
            encode(&[("match[]", "a{b=\"c d&é\"}")]),
            "match%5B%5D=a%7Bb%3D%22c%20d%26%C3%A9%22%7D"
        );
    }
}
