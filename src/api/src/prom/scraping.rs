//! What a Prometheus that scrapes and alerts would list. Trireme does neither, so the lists are empty, in the shapes that
//! Grafana and other clients expect.

use trireme_base::ErrorKind;
use trireme_model::quote;
use trireme_query::QueryError;

use super::Answer;
use crate::answer;
use crate::ask::Ask;
use crate::error::ApiError;

fn fixed(json: &'static str) -> Answer {
    Ok(answer::success(&[], &[], |out| {
        out.extend_from_slice(json.as_bytes())
    }))
}

pub(crate) async fn targets(_: Ask) -> Answer {
    fixed(r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#)
}

pub(crate) async fn empty_list(_: Ask) -> Answer {
    fixed("[]")
}

pub(crate) async fn scrape_pools(_: Ask) -> Answer {
    fixed(r#"{"scrapePools":[]}"#)
}

/// There is no pool that could be known.
pub(crate) async fn scrape_pool_config(ask: Ask) -> Answer {
    let Some(pool) = ask.params.get("scrapePool") else {
        return Err(ApiError::invalid("no scrapePool parameter provided"));
    };
    let text = format!("scrape pool {} not found", quote(pool));
    Err(ApiError(QueryError::new(ErrorKind::NotFound, text)))
}

pub(crate) async fn rules(ask: Ask) -> Answer {
    if let Some(other) = ask
        .params
        .get("type")
        .filter(|kind| !["alert", "record"].contains(kind))
    {
        return Err(ApiError::parameter(
            "type",
            format!("not supported value {}", quote(other)),
        ));
    }
    fixed(r#"{"groups":[]}"#)
}

pub(crate) async fn alerts(_: Ask) -> Answer {
    fixed(r#"{"alerts":[]}"#)
}

pub(crate) async fn alertmanagers(_: Ask) -> Answer {
    fixed(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}

/// Blocks are listed by `trireme block ls`, and of all tenants only there.
pub(crate) async fn blocks(_: Ask) -> Answer {
    fixed(r#"{"blocks":[]}"#)
}

pub(crate) async fn relabel_steps(ask: Ask) -> Answer {
    for name in ["scrapePool", "labels"] {
        if ask.params.get(name).is_none() {
            return Err(ApiError::invalid(format!("no {name} parameter provided")));
        }
    }

    let pool = quote(ask.params.text("scrapePool"));
    Err(ApiError::invalid(format!(
        "error retrieving scrape config: unknown scrape pool {pool}"
    )))
}

/// Series are not deleted and no snapshots made through the API.
pub(crate) async fn administration(_: Ask) -> Answer {
    Err(ApiError(QueryError::new(
        ErrorKind::Unavailable,
        "admin APIs disabled",
    )))
}
