//! HTTP: remote write, Prometheus's query API, export, health and administration.
//!
//! The crate knows nothing of actors or storage. What a node can do reaches it through four traits: [`WriteSink`] takes
//! decoded batches, [`trireme_query::Queries`] answers from the stored data, [`Admin`] shows and changes the cluster, [`Health`] says
//! whether the node is alive and ready. [`configure`] puts all paths into an actix-web application:
//!
//! ```no_run
//! # fn example(state: trireme_api::ApiState) {
//! use actix_web::App;
//! let app = App::new().configure(|cfg| trireme_api::configure(cfg, state));
//! # }
//! ```
//!
//! Which failure becomes which HTTP status is decided in one place, [`status`], because senders retry 5xx and drop
//! what they got 4xx for.

mod admin;
mod admission;
mod answer;
mod ask;
mod body;
mod budget;
mod delivery;
mod error;
mod export;
mod federate;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod json;
pub mod layers;
mod metrics;
mod pages;
mod params;
pub mod prefix;
mod prom;
mod remote_read;
mod runner;
mod running;
mod selected;
mod settings;
mod state;
pub mod status;
mod tenant;
#[cfg(test)]
mod tests;
mod traffic;
mod write;

pub use admin::{Admin, AdminError};
pub use health::{Health, Readiness, ReplayStatus};
pub use metrics::ApiMetrics;
pub use runner::Runner;
pub use settings::{ApiSettings, CostCeilings, Features};
pub use state::{ApiParts, ApiState, configure};
pub use traffic::Traffic;
pub use write::WriteSink;
