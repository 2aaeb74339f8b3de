use openraft::raft::VoteRequest;
use slog::{Discard, o};
use trireme_ring::{Group, Member};

use super::*;
use crate::types::Vote;

/// The other members, who have or have not founded a ring.
struct Others {
    founded: bool,
}

#[async_trait]
impl Voice for Others {
    async fn call(&self, _: &NodeName, body: Bytes, _: Duration) -> Result<Bytes, String> {
        let request: Request = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        let Request::Status = request else {
            return Err("not there".to_owned());
        };

        let status = Status {
            founded: self.founded,
            leader: None,
            epoch: 1,
        };

        serde_json::to_vec(&Reply::Status(status))
            .map(Bytes::from)
            .map_err(|e| e.to_string())
    }

    fn reaches(&self, _: &NodeName) -> bool {
        true
    }
}

struct Nobody;

#[async_trait]
impl Asked for Nobody {
    async fn answer(&self, _: serde_json::Value) -> serde_json::Value {
        serde_json::Value::Null
    }
}

async fn blank(dir: &std::path::Path, founded: bool) -> Arc<Consensus> {
    let log = Logger::root(Discard, o!());
    let members = ["n0", "n1", "n2"].map(|n| Member::active(n, &format!("{n}:1")));
    let ring = Ring::new(1, 3, vec![Group::new("g0", members.to_vec())]).expect("valid");
    let book = RingBook::open(dir, ring, log.clone()).expect("opens");
    let parts = ConsensusParts {
        me: NodeName::new("n0"),
        dir: dir.to_owned(),
        book: Arc::new(book),
        voice: Arc::new(Others { founded }),
        timing: Timing::default(),
        log,
    };

    Consensus::start(parts).await.expect("starts")
}

async fn asked_for_a_vote(consensus: &Consensus) -> Reply {
    let vote = VoteRequest::new(Vote::new(7, voter_id(&NodeName::new("n1"))), None);
    let body = serde_json::to_vec(&Request::Vote(vote)).expect("serializes");
    let answer = consensus.answer(&body, &Nobody).await.expect("answers");
    serde_json::from_slice(&answer).expect("a reply")
}

#[tokio::test]
async fn a_wiped_voter_asks_the_others_before_its_first_vote_and_remembers_what_they_say() {
    let dir = tempfile::tempdir().expect("temporary directory");

    let consensus = blank(dir.path(), true).await;
    for _ in 0..2 {
        assert!(matches!(asked_for_a_vote(&consensus).await, Reply::No(_)));
    }

    drop(consensus);
    let again = blank(dir.path(), false).await;
    assert!(
        matches!(asked_for_a_vote(&again).await, Reply::No(_)),
        "whatever they say the next time"
    );
}

#[tokio::test]
async fn a_voter_of_a_ring_that_is_being_founded_votes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let consensus = blank(dir.path(), false).await;
    assert!(matches!(
        asked_for_a_vote(&consensus).await,
        Reply::Vote(Ok(_))
    ));
}
