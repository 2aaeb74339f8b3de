//! Settings of a node: defaults, then a TOML file, then `TRIREME__SECTION__KEY`, then `--set section.key=value`.
//!
//! Settings are read in two steps: what was typed ([`load`]), then what is valid ([`Settings::validate`]).
//! Both report every problem at once and name the key, and an unknown key is an error that names the nearest
//! valid one. Every key stands with its default in `configs/trireme.toml`; a test holds the two equal.
//!
//! ```
//! use trireme_settings::{load, Sources};
//! let settings = load(&Sources { set: vec!["storage.window=2m".into()], ..Sources::default() }).unwrap();
//! assert_eq!(settings.storage.window.as_duration().as_secs(), 120);
//! let wrong = load(&Sources { set: vec!["storage.windw=2m".into()], ..Sources::default() }).unwrap_err();
//! assert!(wrong.to_string().contains("did you mean storage.window?"));
//! ```

mod load;
mod nearest;
mod origins;
mod sections;
mod units;
mod validate;

pub use load::{SettingsError, Sources, load};
pub use sections::{
    Bucket, BucketType, Checkpoint, Cluster, ConditionalPutSetting, DistributeSetting, Durability,
    Features, FloatEncoding, Http, Limits, LimitsOverride, Log, LogCompression, Node, Peer, Query,
    Settings, Storage, Telemetry, TenantCreation, Tenants,
};
pub use units::{ByteSize, Span};
