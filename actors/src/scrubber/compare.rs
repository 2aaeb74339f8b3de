//! Asking the other replicas of the group for their blocks, and holding them against the own.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use slog::{debug, warn};
use trireme_base::{ErrorKind, NodeName};
use trireme_model::Tenant;
use trireme_storage::SettledBlocks;
use trireme_transport::CallError;
use trireme_wire::blocks::{List, ListedBlock, Listing, Question, Request};
use trireme_wire::rpc::Method;
use ulid::Ulid;

use super::ScrubberParts;
use super::plan::{Keep, Listed, Own, Wanted, wanted};

/// The peer looks at the sizes of a few thousand blocks.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Most blocks that are taken from one peer's list: more than years of windows of hundreds of tenants.
const LISTED_MAX: usize = 2_000_000;

/// What a comparison found.
#[derive(Default)]
pub(super) struct Compared {
    /// What to fetch, in this order.
    pub(super) wanted: Vec<Wanted>,
    /// A peer was away, behind or silent, or this node is: it has to be repeated.
    pub(super) is_partial: bool,
    /// A peer has made cuts that this node has not.
    pub(super) is_behind: bool,
}

/// A peer's blocks.
struct Theirs {
    cut: Option<i64>,
    blocks: Vec<Listed>,
}

/// Compares with every peer that can be asked. `not_behind`: a peer that has made more cuts is left out, because what it
/// has more this node may be about to write itself.
pub(super) async fn compare(parts: &ScrubberParts, not_behind: bool) -> Compared {
    let mut compared = Compared::default();
    let (able, is_whole) = peers(parts);
    compared.is_partial = !is_whole;

    let mut lists = Vec::new();
    for peer in able {
        match listing_of(parts, &peer).await {
            Ok(theirs) => lists.push((peer, theirs)),
            Err(err) => {
                compared.is_partial = true;
                parts.metrics.failures.with_label_values(&["peer"]).inc();
                debug!(parts.log, "a peer's blocks could not be listed"; "peer" => %peer, "err" => %err);
            }
        }
    }

    // After theirs: what they had is cut here, too, if this node's last cut is not before theirs.
    let Some(own) = own(parts).await else {
        return Compared {
            is_partial: true,
            ..compared
        };
    };

    let is_ahead = |theirs: &Theirs| theirs.cut > own.cut;
    compared.is_behind = lists.iter().any(|(_, theirs)| is_ahead(theirs));
    compared.is_partial |= compared.is_behind;
    lists.retain(|(_, theirs)| !(not_behind && is_ahead(theirs)));

    let lists: Vec<(NodeName, Vec<Listed>)> = lists
        .into_iter()
        .map(|(peer, theirs)| (peer, theirs.blocks))
        .collect();
    let options = &parts.options;
    let keep = Keep {
        window_ms: options.window_ms,
        from_ms: parts.clock.now_ms().saturating_sub(options.retention_ms),
        bytes_max: options.retention_bytes,
    };

    match parts.pool.call(move || wanted(&own, &lists, keep)).await {
        Ok(wanted) => Compared { wanted, ..compared },
        Err(_) => Compared {
            is_partial: true,
            ..compared
        },
    }
}

/// Members of the group that have everything and can be asked, and whether these are all other members.
fn peers(parts: &ScrubberParts) -> (Vec<NodeName>, bool) {
    let group = parts.hub.group().lock();
    let able = group
        .peers()
        .filter(|(_, view)| view.connected && view.is_heard && !view.health.rebuilding);
    let names: Vec<NodeName> = able.map(|(name, _)| name.clone()).collect();
    let is_whole = names.len() == group.peers().count();
    (names, is_whole)
}

async fn listing_of(parts: &ScrubberParts, peer: &NodeName) -> Result<Theirs, CallError> {
    let mut theirs = Theirs {
        cut: None,
        blocks: Vec::new(),
    };

    let mut after = None;
    loop {
        let question = Question::List(List {
            after: after.take(),
        });
        let listing: Listing = ask(parts, peer, question, LIST_TIMEOUT).await?;

        theirs.cut = theirs.cut.max(listing.cut);
        after = listing.blocks.last().and_then(|block| block.name.clone());

        for block in &listing.blocks {
            match listed(block) {
                Some(block) => theirs.blocks.push(block),
                None => {
                    warn!(parts.log, "a peer lists a block with a strange name"; "peer" => %peer,
                    "block_id" => format!("{:?}", block.name))
                }
            }
        }

        if !listing.more || after.is_none() {
            return Ok(theirs);
        }

        if theirs.blocks.len() > LISTED_MAX {
            return Err(CallError::new(
                ErrorKind::TooLarge,
                format!("over {LISTED_MAX} blocks are listed"),
            ));
        }
    }
}

fn listed(block: &ListedBlock) -> Option<Listed> {
    let name = block.name.as_ref()?;
    let tenant = Tenant::new(&name.tenant).ok()?;
    let ulid = Ulid::from_string(&name.ulid).ok()?;
    let is_canonical = ulid.to_string() == name.ulid && block.start_ms < block.end_ms;

    is_canonical.then_some(Listed {
        tenant,
        ulid,
        start_ms: block.start_ms,
        end_ms: block.end_ms,
        bytes: block.bytes,
    })
}

/// The own blocks; `None` if it cannot be told at this moment.
async fn own(parts: &ScrubberParts) -> Option<Own> {
    let cutting = parts.cutting.clone();
    let look = move || {
        let SettledBlocks { cut, blocks, left } = cutting.settled_blocks()?;
        let left = left.into_iter().collect();
        let mut own = Own {
            cut,
            lost: cutting.local_blocks.lost(),
            left,
            ..Own::default()
        };

        for block in blocks {
            let meta = block.meta();
            let listed = Listed {
                tenant: block.tenant.clone(),
                ulid: meta.ulid,
                start_ms: meta.min_time,
                end_ms: meta.max_time,
                bytes: block.size_bytes(),
            };
            if block.is_damaged() {
                own.damaged.insert(listed.key());
            }
            own.blocks.push(listed);
        }

        Some(own)
    };

    parts.pool.call(look).await.ok().flatten()
}

/// One question to one peer.
pub(super) async fn ask<A: Message + Default>(
    parts: &ScrubberParts,
    peer: &NodeName,
    question: Question,
    timeout: Duration,
) -> Result<A, CallError> {
    let calls = parts.calls.get(peer);
    let calls = calls.ok_or_else(|| CallError::new(ErrorKind::NotFound, "no such member"))?;
    let body = Bytes::from(
        Request {
            question: Some(question),
        }
        .encode_to_vec(),
    );

    let answer = calls.call(Method::Blocks, body, timeout).await?;

    A::decode(answer).map_err(|e| CallError::new(ErrorKind::Corrupt, e.to_string()))
}
