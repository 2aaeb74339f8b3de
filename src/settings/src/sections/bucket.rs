//! `[bucket]`: long-term storage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// Kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BucketType {
    /// A local directory.
    File,
    /// Amazon S3 and compatible servers.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// No long-term storage.
    None,
}

/// Whether objects are created in an S3 bucket under the condition that none has their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionalPutSetting {
    /// Unless the server turns out not to know the condition.
    Auto,
    /// Never.
    Off,
}

/// `[bucket]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// Kind of object store.
    #[serde(rename = "type")]
    pub kind: BucketType,
    /// Directory for `file`; empty means `bucket` inside the data directory.
    pub path: String,
    /// Bucket or container name.
    pub name: String,
    /// Folder inside the bucket.
    pub prefix: String,
    /// Address of an S3-compatible server; empty means the provider's own.
    pub endpoint: String,
    /// Region of an S3 bucket.
    pub region: String,
    /// S3 access key, or Azure account; empty takes the provider's usual environment, instance or pod identity.
    pub access_key: String,
    /// S3 secret key, or Azure account key.
    pub secret_key: String,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
    /// Whether an S3 server is asked to create objects under a condition (`If-None-Match: *`).
    pub conditional_put: ConditionalPutSetting,
    /// Labels of every block beside the tenant's, for example `group`.
    pub external_labels: BTreeMap<String, String>,
    /// External labels of blocks in the bucket that tell copies of the same samples apart: they are not shown, and what is
    /// then the same series is united.
    pub replica_labels: Vec<String>,
    /// Whose the blocks in the bucket are that have no tenant label; empty means nobody's, and they are not read.
    pub default_tenant: String,
    /// How long the replica next in line waits before it uploads a window itself.
    pub upload_turn: Span,
    /// How often the uploader looks for blocks to ship.
    pub upload_interval: Span,
    /// Blocks that it looks at, and uploads, side by side.
    pub uploads_at_once: usize,
    /// How often the list of blocks in the bucket is read for queries.
    pub sync_interval: Span,
    /// How often that list shows marks of blocks, too, for which every object has to be listed.
    pub marks_interval: Span,
    /// Memory for pieces of bucket blocks.
    pub cache_bytes: ByteSize,
    /// Disk for copies of indexes of bucket blocks.
    pub index_cache_bytes: ByteSize,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            kind: BucketType::File,
            path: String::new(),
            name: String::new(),
            prefix: String::new(),
            endpoint: String::new(),
            region: "us-east-1".into(),
            access_key: String::new(),
            secret_key: String::new(),
            allow_http: false,
            conditional_put: ConditionalPutSetting::Auto,
            external_labels: BTreeMap::new(),
            replica_labels: vec!["receive_replica".into()],
            default_tenant: String::new(),
            upload_turn: Span::from_secs(300),
            upload_interval: Span::from_secs(5),
            uploads_at_once: 4,
            sync_interval: Span::from_secs(60),
            marks_interval: Span::from_secs(900),
            cache_bytes: ByteSize(256 << 20),
            index_cache_bytes: ByteSize(8 << 30),
        }
    }
}
