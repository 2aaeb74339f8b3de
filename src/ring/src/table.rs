//! Rings as text, for tables in tests.

use trireme_base::NodeName;

use crate::{Group, GroupPhase, Member, MemberState, Ring};

/// Reads `group*phase=weight: node@zone*state>replaces ...` lines; all but the names is optional.
pub(crate) fn groups(text: &str) -> Vec<Group> {
    let line = |line: &str| {
        let (name, members) = line.split_once(':').expect("group: members");
        let (name, weight) = name.trim().split_once('=').unwrap_or((name.trim(), "1"));
        let (name, phase) = name.split_once('*').unwrap_or((name, "serving"));
        let phase = match phase {
            "forming" => GroupPhase::Forming,
            "leaving" => GroupPhase::Leaving,
            "gone" => GroupPhase::Gone,
            _ => GroupPhase::Serving,
        };

        let weight = weight.parse().expect("a number");
        let members = members.split_whitespace().map(member).collect();
        Group {
            phase,
            weight,
            ..Group::new(name, members)
        }
    };
    text.lines()
        .filter(|l| !l.trim().is_empty())
        .map(line)
        .collect()
}

fn member(word: &str) -> Member {
    let (word, replaces) = word
        .split_once('>')
        .map_or((word, None), |(w, r)| (w, Some(NodeName::new(r))));
    let (word, state) = word.split_once('*').unwrap_or((word, "active"));
    let (node, zone) = word
        .split_once('@')
        .map_or((word, None), |(n, z)| (n, Some(z.to_owned())));
    let state = match state {
        "joining" => MemberState::Joining,
        "draining" => MemberState::Draining,
        "left" => MemberState::Left,
        _ => MemberState::Active,
    };

    Member {
        zone,
        state,
        replaces,
        ..Member::active(node, &format!("{node}:1"))
    }
}

/// The other way.
pub(crate) fn text(ring: &Ring) -> String {
    let member = |m: &Member| {
        let zone = m.zone.as_ref().map(|z| format!("@{z}")).unwrap_or_default();
        let state = match m.state {
            MemberState::Active => String::new(),
            state => format!("*{}", state.word()),
        };
        let replaces = m
            .replaces
            .as_ref()
            .map(|r| format!(">{r}"))
            .unwrap_or_default();
        format!("{}{zone}{state}{replaces}", m.node)
    };

    let group = |g: &Group| {
        let phase = match g.phase {
            GroupPhase::Serving => String::new(),
            phase => format!("*{}", phase.word()),
        };
        let weight = if g.weight == 1 {
            String::new()
        } else {
            format!("={}", g.weight)
        };
        let members = g.members.iter().map(member).collect::<Vec<_>>().join(" ");
        format!("{}{phase}{weight}: {members}", g.name)
    };

    ring.groups.iter().map(group).collect::<Vec<_>>().join("\n")
}

/// A valid ring of epoch 5 and replication factor 3.
pub(crate) fn ring(text: &str) -> Ring {
    Ring::new(5, 3, groups(text)).expect("valid")
}
