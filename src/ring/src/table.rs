//! Rings as text, for tables in tests.

use trireme_base::NodeName;

use crate::{Group, GroupPhase, Member, MemberState, Ring};

/// Reads `group*phase=weight: node@zone*state>replaces ...` lines; all but the names is optional.
pub(crate) fn groups(text: &str) -> Vec<Group> {
    text.lines()
        .filter(|l| !l.trim().is_empty())
        .map(group)
        .collect()
}

fn group(line: &str) -> Group {
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
    let groups: Vec<String> = ring.groups.iter().map(group_text).collect();
    groups.join("\n")
}

fn group_text(g: &Group) -> String {
    let phase = match g.phase {
        GroupPhase::Serving => String::new(),
        phase => format!("*{}", phase.word()),
    };
    let weight = if g.weight == 1 {
        String::new()
    } else {
        format!("={}", g.weight)
    };
    let members: Vec<String> = g.members.iter().map(member_text).collect();
    format!("{}{phase}{weight}: {}", g.name, members.join(" "))
}

fn member_text(m: &Member) -> String {
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
}

/// A valid ring of epoch 5 and replication factor 3.
pub(crate) fn ring(text: &str) -> Ring {
    Ring::new(5, 3, groups(text)).expect("valid")
}
