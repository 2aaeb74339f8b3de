//! The object store as the settings name it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use slog::{Logger, warn};
use trireme_bucket::{BucketConfig, BucketKind, MetaCache};
use trireme_settings::{BucketType, Settings};

/// A client of the object store.
pub type Store = Arc<dyn object_store::ObjectStore>;

/// Opens the bucket; `None` if the settings say so. A file bucket without a path of its own lies at `default_path`.
pub fn open(settings: &Settings, default_path: PathBuf) -> anyhow::Result<Option<Store>> {
    let bucket = &settings.bucket;
    let kind = match bucket.kind {
        BucketType::File => BucketKind::File,
        BucketType::S3 => BucketKind::S3,
        BucketType::Gcs => BucketKind::Gcs,
        BucketType::Azure => BucketKind::Azure,
        BucketType::None => BucketKind::None,
    };
    let config = BucketConfig {
        kind,
        path: if bucket.path.is_empty() { default_path } else { PathBuf::from(&bucket.path) },
        name: bucket.name.clone(),
        prefix: bucket.prefix.clone(),
        endpoint: bucket.endpoint.clone(),
        region: bucket.region.clone(),
        access_key: bucket.access_key.clone(),
        secret_key: bucket.secret_key.clone(),
        allow_http: bucket.allow_http,
        ca_file: None,
    };
    config.open().context("cannot open the bucket")
}

/// Reads the list of blocks again and again, until the future is dropped.
pub(crate) async fn keep_fresh(store: Store, metas: Arc<MetaCache>, every: Duration, log: Logger) {
    loop {
        match metas.refresh(store.as_ref()).await {
            Ok(refreshed) => {
                for (ulid, err) in refreshed.failed {
                    warn!(log, "meta of a bucket block cannot be read"; "block_id" => %ulid, "err" => %err);
                }
            }
            Err(err) => warn!(log, "bucket cannot be listed, queries use the last list"; "err" => %err),
        }
        tokio::time::sleep(every).await;
    }
}
