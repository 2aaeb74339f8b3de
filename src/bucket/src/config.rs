//! From settings to a client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use slog::Logger;

use crate::conditional::Conditional;
use crate::{BucketError, ConditionalPut, StoreCheck, check};

type StoreParts = (Arc<dyn ObjectStore>, Option<Arc<Conditional<AmazonS3>>>);

/// Kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BucketKind {
    /// A local directory.
    File,
    /// Amazon S3 and compatible servers.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// Memory of this process; for tests.
    Memory,
    /// No long-term storage.
    #[default]
    None,
}

/// What a client is built from. Empty texts mean "not set".
#[derive(Clone, Debug, Default)]
pub struct BucketConfig {
    /// Kind of store.
    pub kind: BucketKind,
    /// Directory for [`BucketKind::File`]; made if missing.
    pub path: PathBuf,
    /// Bucket or container.
    pub name: String,
    /// Folder inside the bucket; any text that makes a key, spaces and letters of all scripts included.
    pub prefix: String,
    /// Address of an S3-compatible server.
    pub endpoint: String,
    /// Region of an S3 bucket.
    pub region: String,
    /// S3 access key, Azure account, or path of a Google service account file; empty takes the provider's usual
    /// environment, instance or pod identity.
    pub access_key: String,
    /// S3 secret key or Azure account key.
    pub secret_key: String,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
    /// Whether an S3 server is asked to create objects under a condition.
    pub conditional_put: ConditionalPut,
    /// PEM file with certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// One request, body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request is tried again; callers try again later themselves.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes ring the process's TLS implementation; later calls change nothing.
///
/// The HTTP client is built without one of its own and cannot be made before this was called.
/// [`BucketConfig::open`] calls it.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl BucketConfig {
    /// Builds the client; none for [`BucketKind::None`]. Nothing is asked of the store yet.
    ///
    /// `log` is told once if the store turns out to lack something.
    pub fn open(&self, log: &Logger) -> Result<Option<Arc<dyn ObjectStore>>, BucketError> {
        Ok(self.parts(log)?.map(|(store, _)| store))
    }

    /// Writes, reads, lists and deletes a small object at the root of the bucket, and says what the store can do.
    ///
    /// `name` is the object's; what has it is overwritten.
    pub async fn check(&self, log: &Logger, name: &str) -> Result<StoreCheck, BucketError> {
        let Some((store, s3)) = self.parts(log)? else {
            return Err(BucketError::Config("bucket.type is none".into()));
        };
        check::write_and_read(store.as_ref(), &Path::from(name)).await?;
        Ok(StoreCheck {
            creates_conditionally: s3.is_none_or(|s3| s3.keeps_condition().unwrap_or(true)),
        })
    }

    /// The store, and the client in it that knows what an S3 server can do.
    fn parts(&self, log: &Logger) -> Result<Option<StoreParts>, BucketError> {
        install_crypto_provider();
        let mut s3 = None;
        let store: Arc<dyn ObjectStore> = match self.kind {
            BucketKind::None => return Ok(None),
            BucketKind::Memory => Arc::new(InMemory::new()),
            BucketKind::File => Arc::new(self.file()?),
            BucketKind::S3 => s3.insert(Arc::new(self.s3(log)?)).clone(),
            BucketKind::Gcs => Arc::new(self.gcs()?),
            BucketKind::Azure => Arc::new(self.azure()?),
        };

        // Parsed, not made from parts: that would write letters other than ASCII and some signs as %XX.
        let prefix = Path::parse(self.prefix.trim_matches('/'));
        let prefix = prefix.map_err(|e| BucketError::Config(format!("bucket.prefix: {e}")))?;
        let store = if prefix.is_root() {
            store
        } else {
            Arc::new(PrefixStore::new(store, prefix))
        };

        Ok(Some((store, s3)))
    }

    fn file(&self) -> Result<LocalFileSystem, BucketError> {
        std::fs::create_dir_all(&self.path)
            .map_err(|e| BucketError::Config(format!("{}: {e}", self.path.display())))?;
        let store = LocalFileSystem::new_with_prefix(&self.path).map_err(config)?;
        Ok(store.with_fsync(true).with_automatic_cleanup(true))
    }

    fn s3(&self, log: &Logger) -> Result<Conditional<AmazonS3>, BucketError> {
        let once = RetryConfig {
            max_retries: 0,
            ..retry()
        };
        let store = self.s3_client(retry())?;
        let once = self.s3_client(once)?;

        Ok(Conditional::new(
            store,
            once,
            self.conditional_put,
            log.clone(),
        ))
    }

    fn s3_client(&self, retry: RetryConfig) -> Result<AmazonS3, BucketError> {
        // The environment first (AWS_ACCESS_KEY_ID, web identity, ...), then what the settings say.
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&self.name)
            .with_client_options(self.client()?)
            .with_allow_http(self.allow_http)
            .with_retry(retry);

        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(&self.endpoint);
        }

        if !self.region.is_empty() {
            builder = builder.with_region(&self.region);
        }

        if !self.access_key.is_empty() {
            builder = builder
                .with_access_key_id(&self.access_key)
                .with_secret_access_key(&self.secret_key);
        }

        builder.build().map_err(config)
    }

    fn gcs(&self) -> Result<impl ObjectStore, BucketError> {
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(&self.name)
            .with_client_options(self.client()?)
            .with_retry(retry());

        if !self.endpoint.is_empty() {
            builder = builder.with_base_url(&self.endpoint);
        }

        if !self.access_key.is_empty() {
            builder = builder.with_service_account_path(&self.access_key);
        }

        builder.build().map_err(config)
    }

    fn azure(&self) -> Result<impl ObjectStore, BucketError> {
        let mut builder = MicrosoftAzureBuilder::from_env()
            .with_container_name(&self.name)
            .with_client_options(self.client()?)
            .with_allow_http(self.allow_http)
            .with_retry(retry());

        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(self.endpoint.clone());
        }

        if !self.access_key.is_empty() {
            builder = builder
                .with_account(&self.access_key)
                .with_access_key(&self.secret_key);
        }

        builder.build().map_err(config)
    }

    fn client(&self) -> Result<ClientOptions, BucketError> {
        let mut options = ClientOptions::new()
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(self.allow_http);

        if let Some(path) = &self.ca_file {
            let pem = std::fs::read(path).map_err(|e| unusable(path, &e))?;
            let certificates = Certificate::from_pem_bundle(&pem);
            for certificate in certificates.map_err(|e| unusable(path, &e))? {
                options = options.with_root_certificate(certificate);
            }
        }

        Ok(options)
    }
}

fn unusable(path: &std::path::Path, e: &dyn std::fmt::Display) -> BucketError {
    BucketError::Config(format!("{}: {e}", path.display()))
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: RETRY_TIMEOUT,
        ..RetryConfig::default()
    }
}

fn config(error: object_store::Error) -> BucketError {
    BucketError::Config(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_store_can_be_built_without_asking_it() {
        let log = Logger::root(slog::Discard, slog::o!());
        let dir = tempfile::tempdir().expect("temporary directory");
        let base = BucketConfig {
            name: "b".into(),
            region: "eu-west-1".into(),
            endpoint: "http://localhost:1".into(),
            secret_key: "c2VjcmV0".into(),
            access_key: "key".into(),
            allow_http: true,
            path: dir.path().join("new"),
            prefix: "/a/b/".into(),
            ..BucketConfig::default()
        };

        for kind in [
            BucketKind::File,
            BucketKind::S3,
            BucketKind::Azure,
            BucketKind::Memory,
        ] {
            let store = BucketConfig {
                kind,
                ..base.clone()
            }
            .open(&log);
            assert!(store.is_ok_and(|s| s.is_some()), "{kind:?}");
        }

        assert!(
            BucketConfig::default()
                .open(&log)
                .is_ok_and(|s| s.is_none())
        );

        let no_file = BucketConfig {
            kind: BucketKind::Gcs,
            ..base.clone()
        };
        assert!(matches!(no_file.open(&log), Err(BucketError::Config(_))));

        for prefix in ["a//b", "..", "a/./b", "a\nb"] {
            let no_key = BucketConfig {
                kind: BucketKind::File,
                prefix: prefix.into(),
                ..base.clone()
            };
            assert!(
                matches!(no_key.open(&log), Err(BucketError::Config(_))),
                "{prefix:?}"
            );
        }
    }
}
