//! What a Prometheus that scrapes and alerts would list. Trireme does neither, so the lists are empty, in the shapes that
//! Grafana and other clients expect.

use super::Answer;
use crate::answer;
use crate::ask::Ask;

fn fixed(json: &'static str) -> Answer {
    Ok(answer::success(&[], &[], |out| out.extend_from_slice(json.as_bytes())))
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

pub(crate) async fn rules(_: Ask) -> Answer {
    fixed(r#"{"groups":[]}"#)
}

pub(crate) async fn alerts(_: Ask) -> Answer {
    fixed(r#"{"alerts":[]}"#)
}

pub(crate) async fn alertmanagers(_: Ask) -> Answer {
    fixed(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}
