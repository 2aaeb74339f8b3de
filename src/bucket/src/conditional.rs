//! "Only if it is not there", at S3 servers that know the condition and at those that do not.
//!
//! Amazon S3 creates an object only if none has its key when the request says `If-None-Match: *`. Other servers answer
//! 501 or 400 to that header, for ever, or take it and overwrite. [`Conditional`] finds out which one it talks to with
//! the first object that it creates, and from then on asks with `HEAD` first where the server does not decide.
//! Between the two requests another writer may come in: two replicas that send one block send the same bytes, and
//! [`publish`](crate::publish) reads back what it wrote, so that another block under the same name does not go
//! unnoticed.

use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use slog::{Logger, warn};

/// Whether objects are created under a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConditionalPut {
    /// With `If-None-Match: *` unless the server turns out not to know it.
    #[default]
    Auto,
    /// Never: the store is asked with `HEAD` first.
    Off,
}

/// What is known of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// No object was created yet.
    Nothing,
    /// It creates under the condition, and only then.
    Keeps,
    /// It refuses the condition, or overwrites in spite of it, or nobody shall ask.
    Lacks,
}

impl Known {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Nothing,
            1 => Self::Keeps,
            _ => Self::Lacks,
        }
    }
}

/// An S3 client that creates objects under a condition where the server knows it.
#[derive(Debug)]
pub(crate) struct Conditional<S> {
    store: S,
    /// The same without retries: what a server does not implement it refuses each time.
    once: S,
    known: AtomicU8,
    log: Logger,
}

impl<S: ObjectStore> Conditional<S> {
    /// `once` is `store` without retries.
    pub(crate) fn new(store: S, once: S, wanted: ConditionalPut, log: Logger) -> Self {
        let known = if wanted == ConditionalPut::Off {
            Known::Lacks
        } else {
            Known::Nothing
        };
        Self {
            store,
            once,
            known: AtomicU8::new(known as u8),
            log,
        }
    }

    /// Whether the server creates under the condition; none if it was not found out yet.
    pub(crate) fn keeps_condition(&self) -> Option<bool> {
        match self.known() {
            Known::Nothing => None,
            known => Some(known == Known::Keeps),
        }
    }

    fn known(&self) -> Known {
        Known::of(self.known.load(Ordering::Relaxed))
    }

    fn learn(&self, known: Known) {
        self.known.store(known as u8, Ordering::Relaxed);
    }

    /// Creates an object and learns from it what the server does with the condition.
    async fn create_first(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match self
            .once
            .put_opts(path, payload.clone(), options.clone())
            .await
        {
            Ok(made) => {
                self.try_again(path, payload, options).await;
                Ok(made)
            }
            Err(error @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
                self.learn(Known::Keeps);
                Err(error)
            }
            Err(error) if refuses_condition(&error) => {
                // The same status may have another cause; then this fails as well, and nothing is learned.
                let made = self.create_if_absent(path, payload, options).await?;
                self.lacks("refuses", &error.to_string());
                Ok(made)
            }
            // A failure of another kind says nothing of the condition; the ordinary client tries it again.
            Err(_) => self.store.put_opts(path, payload, options).await,
        }
    }

    /// Creates what was just created: the same bytes, so that it does not matter if the server takes them.
    async fn try_again(&self, path: &Path, payload: PutPayload, options: PutOptions) {
        match self.once.put_opts(path, payload, options).await {
            Ok(_) => self.lacks("ignores", "an object was created twice"),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                self.learn(Known::Keeps)
            }
            // The next object is to tell.
            Err(_) => {}
        }
    }

    fn lacks(&self, how: &str, err: &str) {
        self.learn(Known::Lacks);
        warn!(self.log, "bucket does not create objects under a condition: it is asked whether they are there \
            before they are uploaded, and they are read back (bucket.conditional_put=off says so from the start)";
            "server" => how, "err" => err);
    }

    /// Creates an object that `HEAD` does not find.
    async fn create_if_absent(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match self.store.head(path).await {
            Ok(_) => {
                let source = "HEAD found it".into();
                Err(Error::AlreadyExists {
                    path: path.to_string(),
                    source,
                })
            }
            Err(Error::NotFound { .. }) => {
                let options = PutOptions {
                    mode: PutMode::Overwrite,
                    ..options
                };
                self.store.put_opts(path, payload, options).await
            }
            Err(error) => Err(error),
        }
    }
}

/// True for the answers of servers that do not know `If-None-Match`, or whose client was told that they do not.
fn refuses_condition(error: &Error) -> bool {
    const STATUSES: [&str; 3] = ["code: 400", "code: 405", "code: 501"];
    match error {
        Error::NotImplemented { .. } | Error::NotSupported { .. } => true,
        // The client's error with the status in it is not public; its text is.
        Error::Generic { source, .. } => {
            let text = source.to_string();
            STATUSES.iter().any(|status| text.contains(status))
        }
        _ => false,
    }
}

impl<S: ObjectStore> std::fmt::Display for Conditional<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.store, f)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Conditional<S> {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match (&options.mode, self.known()) {
            (PutMode::Create, Known::Nothing) => self.create_first(path, payload, options).await,
            (PutMode::Create, Known::Lacks) => self.create_if_absent(path, payload, options).await,
            _ => self.store.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
