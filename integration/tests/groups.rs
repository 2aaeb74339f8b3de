//! Several replica groups in one ring: series move to a new group and away from an old one while writes and queries go on.

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;
use trireme_integration::{
    Client, Group, Load, SampleSet, Sent, now_ms, trireme, until, until_for,
};

/// What the tests write.
const ALL: &str = "sum(count_over_time(load_total[10m]))";

/// Runs `trireme ring` against a node; its output, and whether it succeeded.
async fn ring(client: &Client, words: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(trireme()?)
        .arg("ring")
        .args(words)
        .args(["--url", client.url()])
        .output()
        .await?;

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    ))
}

async fn ring_done(client: &Client, words: &[&str]) -> anyhow::Result<String> {
    let (done, said) = ring(client, words).await?;
    ensure!(done, "trireme ring {words:?}: {said}");
    Ok(said)
}

async fn ring_refused(client: &Client, words: &[&str], why: &str) -> anyhow::Result<()> {
    until("a refusal of whoever leads", async || {
        let (done, said) = ring(client, words).await?;
        ensure!(
            !done && said.contains(why),
            "trireme ring {words:?}, wanted {why:?}: {said}"
        );
        Ok(())
    })
    .await
}

/// Waits until these nodes show these phases, as `g0=serving g1=forming`, with one epoch. Answers the shares.
async fn phases(group: &Group, nodes: &[usize], wanted: &str) -> anyhow::Result<Vec<f64>> {
    until(&format!("all show {wanted}"), async || {
        let mut epochs = Vec::new();

        let mut shares = Vec::new();
        for node in nodes {
            let ring = group.client(*node).ring().await?;
            let groups = ring["groups"].as_array().context("groups")?;
            let shown: Vec<String> = groups
                .iter()
                .map(|g: &Value| {
                    let text = |key: &str| g[key].as_str().unwrap_or_default().to_owned();
                    format!("{}={}", text("name"), text("phase"))
                })
                .collect();
            ensure!(shown.join(" ") == wanted, "node {node} shows {shown:?}");
            epochs.push(ring["epoch"].as_u64().context("epoch")?);
            shares = groups.iter().filter_map(|g| g["share"].as_f64()).collect();
        }

        ensure!(
            epochs.iter().all(|epoch| *epoch == epochs[0]),
            "epochs {epochs:?}"
        );

        Ok(shares)
    })
    .await
}

/// Starts three more nodes and joins them as group `g1`. Answers their numbers.
async fn second_group(group: &mut Group) -> anyhow::Result<Vec<usize>> {
    let mut members = Vec::new();
    for name in ["n3", "n4", "n5"] {
        let (new, address) = group.newcomer(name)?;
        group.node(new).start()?;
        members.push((new, format!("{name}={address}")));
    }

    ring_refused(
        group.client(0),
        &["join", &members[0].1, "--group", "g1"],
        "there is no group",
    )
    .await?;

    for (new, member) in &members {
        let client = group.client(0).clone();
        until("a member joins", async || {
            ring_done(&client, &["join", member, "--new-group", "g1"])
                .await
                .map(drop)
        })
        .await?;
        group.node(*new).ready().await?;
    }

    Ok(members.into_iter().map(|(new, _)| new).collect())
}

async fn goes_on(load: &Load, more: u64) -> anyhow::Result<()> {
    let wanted = load.look(|sent| sent.successes).await + more;
    load.reaches(wanted).await
}

fn unharmed(sent: &Sent) -> anyhow::Result<()> {
    ensure!(
        sent.refusals.is_empty() && sent.broken == 0,
        "{:?}, {} broken",
        sent.refusals,
        sent.broken
    );
    Ok(())
}

/// Every node answers every sample once.
async fn all_answer(
    group: &Group,
    nodes: &[usize],
    sent: &SampleSet,
    from: i64,
) -> anyhow::Result<()> {
    for node in nodes {
        let client = group.client(*node);
        until_for(
            "the node answers every sample once",
            std::time::Duration::from_secs(20),
            async || {
                let held = client
                    .export_of("default-tenant", from, now_ms() + 60_000)
                    .await?;
                let missing = sent.first_missing_in(&held);
                ensure!(missing.is_none(), "node {node} lacks {missing:?}");
                let counted = client.instant(ALL).await?.unwrap_or_default();
                ensure!(
                    counted == sent.sample_count() as f64,
                    "node {node} counts {counted} of {}",
                    sent.sample_count()
                );
                Ok(())
            },
        )
        .await?;

        let series = client
            .api("/api/v1/series", &[("match[]", "load_total")])
            .await?;
        let found = series.as_array().map_or(0, Vec::len);
        ensure!(
            found == sent.series_count(),
            "node {node} lists {found} of {} series",
            sent.series_count()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_move_to_a_new_group_and_the_old_one_goes_without_a_failed_write_or_a_missing_sample()
-> anyhow::Result<()> {
    let began = now_ms();
    let mut group = Group::of(3)
        .short_windows(10)
        .set("cluster.ack_timeout=10s")
        .start()
        .await?;

    let old = [0, 1, 2];
    let of_old = Load::start(&group.clients());
    goes_on(&of_old, 60).await?;

    let client = group.client(1).clone();
    ring_refused(
        &client,
        &["drain", "--group", "g0"],
        "no other group takes series",
    )
    .await?;

    let new = second_group(&mut group).await?;
    let everybody: Vec<usize> = old.iter().chain(&new).copied().collect();
    let shares = phases(&group, &everybody, "g0=serving g1=serving").await?;
    ensure!(
        shares.iter().all(|share| (share - 0.5).abs() < 0.03),
        "{shares:?}"
    );

    let shown = ring_done(&client, &["show"]).await?;
    ensure!(
        shown.contains("name g1") && shown.contains("share 0."),
        "{shown}"
    );

    let clients: Vec<Client> = new.iter().map(|node| group.client(*node).clone()).collect();
    let of_new = Load::start_from(3, &clients);
    goes_on(&of_old, 20).await?;

    let moved = now_ms();
    for load in [&of_old, &of_new] {
        goes_on(load, 120).await?;
    }

    // Both groups have series of both loads.
    for node in [0, new[0]] {
        let held = group.client(node).export().await?;
        let loads = held
            .series()
            .filter(|(labels, _)| labels["__name__"] == "load_total");
        let fresh = loads
            .filter(|(_, samples)| samples.keys().next_back().is_some_and(|t| *t > moved))
            .count();
        ensure!(
            (90..=210).contains(&fresh),
            "node {node} takes {fresh} of 300 series"
        );
    }

    ring_refused(&client, &["remove", "--group", "g0"], "drain it first").await?;
    ring_done(&client, &["drain", "--group", "g0"]).await?;
    phases(&group, &everybody, "g0=leaving g1=serving").await?;
    ring_refused(&client, &["remove", "--group", "g0"], "not in the bucket").await?;

    for load in [&of_old, &of_new] {
        goes_on(load, 60).await?;
    }

    let old_sent = of_old.stop().await?;
    unharmed(&old_sent)?;
    until_for(
        "the old group may go",
        std::time::Duration::from_secs(120),
        async || {
            ring_done(&client, &["remove", "--group", "g0"])
                .await
                .map(drop)
        },
    )
    .await?;

    phases(&group, &new, "g0=gone g1=serving").await?;
    for node in old {
        group.node(node).stop().await?;
    }

    goes_on(&of_new, 60).await?;
    let new_sent = of_new.stop().await?;
    unharmed(&new_sent)?;

    let mut sent = old_sent.acknowledged;
    sent.merge(&new_sent.acknowledged);
    all_answer(&group, &new, &sent, began).await?;

    // The ring of those who are left can still change.
    ring_done(group.client(new[0]), &["weigh", "g1", "2"]).await?;
    group.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_answers_for_all_groups_and_says_so_where_it_cannot() -> anyhow::Result<()> {
    let began = now_ms();
    let mut group = Group::of(3).set("cluster.ack_timeout=10s").start().await?;
    let load = Load::start(&group.clients());

    goes_on(&load, 60).await?;
    let new = second_group(&mut group).await?;
    let everybody: Vec<usize> = (0..3).chain(new.iter().copied()).collect();

    phases(&group, &everybody, "g0=serving g1=serving").await?;
    goes_on(&load, 60).await?;

    // A member of the other group dies: its parts go to the others, and queries are answered by them.
    group.node(new[1]).kill()?;
    goes_on(&load, 60).await?;

    let sent = load.stop().await?;
    unharmed(&sent)?;
    all_answer(
        &group,
        &[0, 1, 2, new[0], new[2]],
        &sent.acknowledged,
        began,
    )
    .await?;

    let shown = group.client(0).ring().await?;
    let away = shown["groups"][1]["members"]
        .as_array()
        .context("members")?;
    let away = away.iter().find(|m| m["node"] == "n4").context("n4")?;
    ensure!(away["connected"] == false, "{away}");

    // Nobody of the other group is left.
    group.node(new[0]).kill()?;
    group.node(new[2]).kill()?;

    let client = group.client(1).clone();
    until("the answer says what is missing", async || {
        let answer = client
            .send(client.get("/api/v1/query").query(&[("query", ALL)]))
            .await?
            .success()?;
        ensure!(
            answer.body.contains("no replica of group g1 can be asked"),
            "{}",
            answer.body
        );
        Ok(())
    })
    .await?;

    let whole = [("query", ALL), ("partial_response", "false")];
    let refused = client
        .send(client.get("/api/v1/query").query(&whole))
        .await?;
    ensure!(
        refused.status == 503 && refused.body.contains("group g1"),
        "{refused:?}"
    );

    for node in &new {
        group.node(*node).start()?;
    }

    for node in &new {
        group.node(*node).ready().await?;
    }

    all_answer(&group, &everybody, &sent.acknowledged, began).await?;

    // Whoever leads, in this group or the other one, brings a replacement to its end.
    let (newest, address) = group.newcomer("n6")?;
    group.node(newest).start()?;

    let client = group.client(0).clone();
    until("a replacement begins", async || {
        ring_done(&client, &["replace", "n5", &format!("n6={address}")])
            .await
            .map(drop)
    })
    .await?;

    until("the replacement is over", async || {
        let ring = group.client(1).ring().await?;
        let members = ring["groups"][1]["members"]
            .as_array()
            .context("members")?
            .clone();
        let state = |node: &str| {
            members
                .iter()
                .find(|m| m["node"] == node)
                .map(|m| m["state"].clone())
        };

        ensure!(
            state("n5") == Some("left".into()) && state("n6") == Some("active".into()),
            "{ring}"
        );

        Ok(())
    })
    .await?;

    all_answer(
        &group,
        &[0, 1, 2, new[0], new[1], newest],
        &sent.acknowledged,
        began,
    )
    .await?;

    group.stop().await
}
