//! The ring can change while writes go on, and refuses what would lose data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use trireme_integration::{
    Answer, Client, Group, Load, SampleSet, Series, now_ms, rounds, until, until_for,
};

const MEMBERS: &str = "/api/v1/admin/ring/members";

/// State of each member as a node knows it, and the ring's epoch.
async fn states(client: &Client) -> anyhow::Result<(u64, BTreeMap<String, String>)> {
    let ring = client.ring().await?;
    let members = ring["groups"].as_array().into_iter().flatten();
    let members = members.flat_map(|group| group["members"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let states = members
        .map(|m| (text(&m["node"]), text(&m["state"])))
        .collect();

    Ok((ring["epoch"].as_u64().context("epoch")?, states))
}

/// Waits until each of these nodes shows these states, as `n0=active n1=active`, all with one epoch. Answers that.
async fn all_show(group: &Group, nodes: &[usize], wanted: &str) -> anyhow::Result<u64> {
    until(&format!("all show {wanted}"), async || {
        let mut epochs = Vec::new();
        for node in nodes {
            let (epoch, states) = states(group.client(*node)).await?;
            let shown: Vec<String> = states.iter().map(|(n, s)| format!("{n}={s}")).collect();
            ensure!(
                shown.join(" ") == wanted,
                "node {node} shows {shown:?} of epoch {epoch}"
            );
            epochs.push(epoch);
        }
        ensure!(epochs.iter().all(|e| *e == epochs[0]), "epochs {epochs:?}");
        Ok(epochs[0])
    })
    .await
}

/// Waits until a leader for ring changes is known to each of these nodes.
async fn has_leader(group: &Group, nodes: &[usize]) -> anyhow::Result<String> {
    until("a leader is known", async || {
        let mut leaders = Vec::new();
        for node in nodes {
            let ring = group.client(*node).ring().await?;
            leaders.push(ring["leader"].as_str().context("no leader")?.to_owned());
        }
        ensure!(leaders.iter().all(|l| *l == leaders[0]), "{leaders:?}");
        Ok(leaders.remove(0))
    })
    .await
}

async fn post(client: &Client, path: &str, body: Value) -> anyhow::Result<Answer> {
    client
        .send(client.post(&format!("{MEMBERS}{path}")).json(&body))
        .await
}

fn refused(answer: &Answer, status: u16, says: &str) -> anyhow::Result<()> {
    ensure!(
        answer.status == status && answer.body.contains(says),
        "wanted {status} with {says:?}, got {answer:?}"
    );
    Ok(())
}

/// Writes as a front would let a sender write: as long as the node says that it is ready. Every write must succeed.
async fn write_while_ready(client: Client) -> anyhow::Result<SampleSet> {
    let mut acknowledged = SampleSet::default();

    let mut last = 0;
    while client.is_ready().await {
        last = now_ms().max(last + 1);
        let series = [Series::new(
            "leaver_total",
            &[("i", "0")],
            &[(last, last as f64)],
        )];
        client
            .write(&series)
            .await?
            .success()
            .context("a write to the receiver that leaves")?;
        series[0].add_to(&mut acknowledged);
    }

    Ok(acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_founds_its_ring_by_itself_and_keeps_it_over_a_restart_of_all()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    let everybody = "n0=active n1=active n2=active";
    ensure!(all_show(&group, &[0, 1, 2], everybody).await? == 1);

    has_leader(&group, &[0, 1, 2]).await?;
    let (_, address) = group.newcomer("n3")?;
    let joined = post(
        group.client(1),
        "",
        json!({ "node": "n3", "address": address, "zone": "c" }),
    )
    .await?;

    let joined: Value = serde_json::from_str(&joined.success()?.body)?;
    ensure!(
        joined["epoch"] == 2 && joined["state"] == "joining",
        "{joined}"
    );

    let four = "n0=active n1=active n2=active n3=joining";
    ensure!(all_show(&group, &[0, 1, 2], four).await? == 2);

    for node in 0..3 {
        group.node(node).kill()?;
    }

    for node in 0..3 {
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    ensure!(
        all_show(&group, &[0, 1, 2], four).await? == 2,
        "the ring is not that of the settings"
    );

    has_leader(&group, &[0, 1, 2]).await?;
    let removed = group
        .client(2)
        .send(group.client(2).delete(&format!("{MEMBERS}/n3")))
        .await?;

    removed.success()?;
    ensure!(all_show(&group, &[0, 1, 2], "n0=active n1=active n2=active n3=left").await? == 3);
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_is_replaced_under_load_without_a_failed_write_or_a_missing_sample()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    has_leader(&group, &[0, 1, 2]).await?;
    let stayers = Load::start(&[group.client(1).clone(), group.client(2).clone()]);
    let leaver = tokio::spawn(write_while_ready(group.client(0).clone()));

    stayers.reaches(50).await?;

    let (new, address) = group.newcomer("n3")?;
    group.node(new).start()?;
    let asked = post(
        group.client(2),
        "/n0/replace",
        json!({ "node": "n3", "address": address }),
    )
    .await?;

    asked.success()?;
    let of_leaver = leaver.await??;
    all_show(&group, &[1, 2, 3], "n0=left n1=active n2=active n3=active").await?;
    group.node(new).ready().await?;

    let so_far = stayers.look(|sent| sent.successes).await;
    stayers.reaches(so_far + 50).await?;
    group.node(0).stop().await?;

    let of_new = Load::start_from(2, &[group.client(new).clone()]);
    of_new.reaches(20).await?;

    // Two of the three that are left make a quorum: the old one is not missed.
    group.node(1).kill()?;
    of_new.reaches(40).await?;

    let of_new = of_new.stop().await?;
    group.node(1).start()?;
    group.node(1).ready().await?;

    let of_stayers = stayers.stop().await?;
    ensure!(
        of_new.refusals.is_empty() && of_new.broken == 0,
        "{:?}, {}",
        of_new.refusals,
        of_new.broken
    );

    // What was sent to n1 while it was killed broke off; nothing was refused.
    ensure!(of_stayers.refusals.is_empty(), "{:?}", of_stayers.refusals);

    let held = group.converged().await?;
    for acknowledged in [&of_leaver, &of_stayers.acknowledged, &of_new.acknowledged] {
        let missing = acknowledged.first_missing_in(&held);
        ensure!(
            missing.is_none(),
            "an acknowledged sample is missing: {missing:?}"
        );
    }

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_lose_data_or_quorum_is_refused_with_what_to_do_instead() -> anyhow::Result<()> {
    let group = Group::of(3).start().await?;
    has_leader(&group, &[0, 1, 2]).await?;
    let client = group.client(0).clone();
    let drain = post(&client, "/n1/drain", Value::Null).await?;

    refused(&drain, 400, "trireme ring replace n1")?;
    let remove = client.send(client.delete(&format!("{MEMBERS}/n1"))).await?;
    refused(&remove, 400, "drain it first")?;

    let double = post(
        &client,
        "",
        json!({ "node": "n1", "address": "127.0.0.1:1" }),
    )
    .await?;

    refused(&double, 400, "names are unique")?;
    refused(
        &post(&client, "/n9/activate", Value::Null).await?,
        404,
        "n9 is not in the ring",
    )?;

    refused(
        &post(&client, "", json!({ "node": "n3", "address": "here" })).await?,
        400,
        "host:port",
    )?;

    refused(
        &post(&client, "/n1/explode", Value::Null).await?,
        404,
        "activate, drain, move and replace",
    )?;

    // Joined, but never started: it has nothing.
    post(
        &client,
        "",
        json!({ "node": "n3", "address": "127.0.0.1:1" }),
    )
    .await?
    .success()?;

    refused(
        &post(&client, "/n3/activate", Value::Null).await?,
        400,
        "n3 is not connected",
    )?;

    let writes = client
        .write(&[Series::new("up", &[], &[(now_ms(), 1.0)])])
        .await?;

    writes.success()?;
    ensure!(
        all_show(
            &group,
            &[0, 1, 2],
            "n0=active n1=active n2=active n3=joining"
        )
        .await?
            == 2
    );

    // With the reason it is done all the same, and the reason is in the leader's log.
    post(&client, "/n1/drain", json!({ "force": "its disk burnt" }))
        .await?
        .success()?;
    all_show(
        &group,
        &[0, 1, 2],
        "n0=active n1=draining n2=active n3=joining",
    )
    .await?;

    ensure!(
        group
            .nodes()
            .iter()
            .any(|node| node.log().contains("its disk burnt")),
        "the reason is in no log"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_the_ring_stands_still_and_says_so_while_a_quorum_takes_writes()
-> anyhow::Result<()> {
    let mut group = Group::of(2).start().await?;
    has_leader(&group, &[0, 1]).await?;

    // Three voters: two old ones and one that joined later.
    let (new, address) = group.newcomer("n2")?;
    group.node(new).start()?;
    post(
        group.client(0),
        "",
        json!({ "node": "n2", "address": address }),
    )
    .await?
    .success()?;

    group.node(new).ready().await?;
    post(group.client(1), "/n2/activate", Value::Null)
        .await?
        .success()?;
    all_show(&group, &[0, 1, 2], "n0=active n1=active n2=active").await?;
    group.node(1).kill()?;
    group.node(new).kill()?;

    let (epoch, _) = states(group.client(0)).await?;
    until("the ring cannot change, and says why", async || {
        let asked = post(
            group.client(0),
            "",
            json!({ "node": "n9", "address": "127.0.0.1:1" }),
        )
        .await?;
        refused(&asked, 503, "majority")
    })
    .await?;

    // The one that is left restarts alone and still knows the ring.
    group.node(0).kill()?;
    group.node(0).start()?;
    group.node(0).ready().await?;

    ensure!(states(group.client(0)).await?.0 == epoch);
    // A quorum is back: writes are taken at once, by the ring that was last decided.
    group.node(new).start()?;

    let write = async |value: f64| {
        let answer = group.nodes()[0]
            .client()
            .write(&[Series::new("up", &[], &[(now_ms(), value)])])
            .await?;
        answer.success().map(drop)
    };

    until("a write has its quorum", async || write(1.0).await).await?;
    group.node(new).ready().await?;
    group.node(1).start()?;
    group.node(1).ready().await?;
    group.converged().await?;

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_an_empty_disk_is_a_new_replica_whose_old_word_does_not_count()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    has_leader(&group, &[0, 1, 2]).await?;
    let incarnation = async |client: &Client| -> anyhow::Result<String> {
        let ring = client.ring().await?;
        let members = ring["groups"][0]["members"].as_array().context("members")?;
        let wiped = members.iter().find(|m| m["node"] == "n2").context("n2")?;
        Ok(wiped["incarnation"]
            .as_str()
            .context("not seen")?
            .to_owned())
    };

    let load = Load::start(&group.clients()[..2]);
    load.reaches(40).await?;
    let before = incarnation(group.client(0)).await?;

    group.node(2).kill()?;
    std::fs::remove_dir_all(group.nodes()[2].data_dir())?;
    group.node(2).start()?;
    group.node(2).ready().await?;
    until("the others see a new incarnation", async || {
        ensure!(incarnation(group.client(0)).await? != before);
        Ok(())
    })
    .await?;

    let so_far = load.look(|sent| sent.successes).await;
    load.reaches(so_far + 40).await?;
    let sent = load.stop().await?;
    ensure!(sent.refusals.is_empty(), "{:?}", sent.refusals);

    // It learns the ring again, and takes part in deciding: with it, one of the others may be away.
    has_leader(&group, &[0, 1, 2]).await?;
    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.node(0).kill()?;
    has_leader(&group, &[1, 2]).await?;
    until("the ring can change", async || {
        let asked = post(
            group.client(2),
            "",
            json!({ "node": "n3", "address": "127.0.0.1:1" }),
        )
        .await?;
        asked.success().map(drop)
    })
    .await?;

    group.node(0).start()?;
    group.node(0).ready().await?;
    all_show(
        &group,
        &[0, 1, 2],
        "n0=active n1=active n2=active n3=joining",
    )
    .await?;

    group.stop().await
}

/// Asks for a change until it is decided: a replica that lags has to catch up first.
async fn decided(client: &Client, path: &str) -> anyhow::Result<()> {
    until_for(
        &format!("{path} is decided"),
        Duration::from_secs(120),
        async || post(client, path, Value::Null).await?.success().map(drop),
    )
    .await
}

/// An answer to an instant query, unless it says that it may not be whole.
async fn whole_answer(client: &Client, query: &str) -> anyhow::Result<Option<f64>> {
    let answer = client
        .send(client.get("/api/v1/query").query(&[("query", query)]))
        .await?
        .success()?;

    let json: Value = serde_json::from_str(&answer.body)?;
    if json["warnings"]
        .as_array()
        .is_some_and(|warnings| !warnings.is_empty())
    {
        return Ok(None);
    }

    let value = json["data"]["result"][0]["value"][1].as_str();
    Ok(Some(value.map_or(Ok(0.0), str::parse)?))
}

/// Writes ever larger values through the nodes in turn. What is acknowledged has to be in every answer that is called
/// whole, whichever node gives it. Answers how many answers were looked at.
async fn write_and_read(clients: Vec<Client>, is_over: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut acknowledged = 0.0;
    let mut last_ms = 0;

    let mut looked = 0;
    for number in 1_usize.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }

        last_ms = now_ms().max(last_ms + 1);
        let value = number as f64;
        let series = [Series::new("fenced_total", &[], &[(last_ms, value)])];

        let written = clients[number % clients.len()].write(&series).await?;
        if written.is_success() {
            acknowledged = value;
        }

        let reader = &clients[(number * 7 + 3) % clients.len()];
        // One that is not in the ring at the moment, or that is busy, may say so.
        if let Ok(Some(seen)) = whole_answer(reader, "max(fenced_total)").await {
            ensure!(
                seen >= acknowledged,
                "{} answered {seen}, {acknowledged} was acknowledged",
                reader.url()
            );
            looked += 1;
        }
    }

    Ok(looked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_beside_a_follower_that_lags_and_no_answer_lacks_what_was_acknowledged()
-> anyhow::Result<()> {
    let mut group = Group::of(3).prepare()?;
    let disk = group.node(2).make_faulty()?;

    for node in 0..3 {
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    has_leader(&group, &[0, 1, 2]).await?;
    let (new, address) = group.newcomer("n3")?;
    group.node(new).start()?;
    post(
        group.client(1),
        "",
        json!({ "node": "n3", "address": address }),
    )
    .await?
    .success()?;

    group.node(new).ready().await?;

    disk.slow_syncs(200);
    let load = Load::start(&group.clients()[1..3]);
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn(write_and_read(group.clients(), Arc::clone(&is_over)));

    for _ in 0..rounds(2) {
        for change in ["/n3/activate", "/n0/drain", "/n0/activate", "/n3/drain"] {
            decided(group.client(1), change).await?;
        }
    }

    is_over.store(true, Ordering::Relaxed);
    let looked = reading.await??;
    ensure!(looked > 10, "only {looked} answers were whole");

    let sent = load.stop().await?;
    disk.slow_syncs(0);

    let held = group.converged().await?;
    let missing = sent.acknowledged.first_missing_in(&held);
    ensure!(
        missing.is_none(),
        "an acknowledged sample is missing: {missing:?}"
    );

    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_take_the_ring_takes_no_writes_and_is_not_drained_blindly()
-> anyhow::Result<()> {
    let mut group = Group::of(3).start().await?;
    has_leader(&group, &[0, 1, 2]).await?;
    let (new, address) = group.newcomer("n3")?;

    group.node(new).start()?;

    // n0's disk takes no ring any more: what stands in the way cannot be written over.
    let ring_dir = group.nodes()[0].data_dir().join("ring");
    for name in ["ring.tmp", "ring.json"] {
        std::fs::create_dir(ring_dir.join(name))?;
    }

    until("n3 is let in, whoever decides", async || {
        // A leader that cannot write the ring down stops deciding in the middle of it.
        post(
            group.client(1),
            "",
            json!({ "node": "n3", "address": address }),
        )
        .await?;

        let (_, states) = states(group.client(1)).await?;
        ensure!(
            states.get("n3").is_some_and(|state| state == "joining"),
            "{states:?}"
        );

        Ok(())
    })
    .await?;

    until("n0 says that it is not ready, and why", async || {
        let ready = group
            .client(0)
            .send(group.client(0).get("/-/ready"))
            .await?;
        ensure!(ready.body.contains("go by a later ring"), "{ready:?}");
        ensure!(
            group.nodes()[0].log().contains("ring.json"),
            "the file is not named"
        );
        Ok(())
    })
    .await?;

    group.node(new).ready().await?;
    until("nobody decides past n0", async || {
        let asked = post(group.client(1), "/n3/activate", Value::Null).await?;
        refused(&asked, 400, "n0 still has the ring of epoch 1")
    })
    .await?;

    // Others take its writes.
    let answer = group
        .client(0)
        .write(&[Series::new("up", &[], &[(now_ms(), 1.0)])])
        .await?;

    answer.success()?;

    for name in ["ring.tmp", "ring.json"] {
        std::fs::remove_dir(ring_dir.join(name))?;
    }

    group.node(0).ready().await?;
    decided(group.client(1), "/n3/activate").await?;
    all_show(
        &group,
        &[0, 1, 2, 3],
        "n0=active n1=active n2=active n3=active",
    )
    .await?;

    group.stop().await
}
