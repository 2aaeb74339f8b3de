//! Changes of whole groups: founding, taking series, leaving.

use trireme_base::NodeName;

use crate::group::WEIGHT_MAX;
use crate::{Group, GroupPhase, MemberState, Refusal, Ring};

/// Groups of a ring, those that are gone included.
const GROUPS_MAX: usize = 64;
/// Groups that are gone and still shown.
const GONE_SHOWN_MAX: usize = 8;

impl Ring {
    /// The group of this name, if it is in one of these phases (none: in any but gone).
    pub(super) fn phased(
        &mut self,
        name: &str,
        wanted: &'static str,
        phases: &[GroupPhase],
    ) -> Result<&mut Group, Refusal> {
        let found = self.groups.iter_mut().find(|g| g.name == name);
        let group = found.ok_or_else(|| Refusal::UnknownGroup(name.to_owned()))?;
        let fits = match phases {
            [] => group.phase != GroupPhase::Gone,
            _ => phases.contains(&group.phase),
        };

        match fits {
            true => Ok(group),
            false => Err(Refusal::Phase {
                group: name.to_owned(),
                phase: group.phase,
                wanted,
            }),
        }
    }

    pub(super) fn retire(&mut self, name: &str) -> Result<(), Refusal> {
        self.phased(name, "drained", &[GroupPhase::Serving])?.phase = GroupPhase::Leaving;
        match self.serving().next() {
            Some(_) => Ok(()),
            None => Err(Refusal::LastGroup(name.to_owned())),
        }
    }

    /// All members leave at once. Nobody is left to whom the ends of their streams would matter.
    pub(super) fn dissolve(&mut self, name: &str) -> Result<(), Refusal> {
        if self
            .group(name)
            .is_some_and(|g| g.phase == GroupPhase::Serving)
        {
            return Err(Refusal::StillServing(name.to_owned()));
        }

        let group = self.phased(name, "removed", &[GroupPhase::Leaving, GroupPhase::Forming])?;
        group.phase = GroupPhase::Gone;

        for member in &mut group.members {
            (member.state, member.replaces) = (MemberState::Left, None);
        }

        let gone = self
            .groups
            .iter()
            .filter(|g| g.phase == GroupPhase::Gone)
            .count();

        let mut surplus = gone.saturating_sub(GONE_SHOWN_MAX);
        self.groups.retain(|g| {
            let drop = g.phase == GroupPhase::Gone && surplus > 0 && g.name != name;
            surplus -= usize::from(drop);
            !drop
        });

        Ok(())
    }

    /// Makes a group without members; one of this name that is gone has nothing to do with it.
    fn found(&mut self, name: &str, weight: u32) -> Result<usize, Refusal> {
        if name.is_empty()
            || !name
                .chars()
                .all(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return Err(Refusal::GroupName(name.to_owned()));
        }

        self.groups.retain(|g| g.name != name);
        if self.groups.len() >= GROUPS_MAX {
            return Err(Refusal::TooManyGroups { max: GROUPS_MAX });
        }

        let weight = weight.clamp(1, WEIGHT_MAX);
        self.groups.push(Group {
            phase: GroupPhase::Forming,
            weight,
            ..Group::new(name, Vec::new())
        });

        Ok(self.groups.len() - 1)
    }

    pub(super) fn group_to_join(
        &mut self,
        group: Option<&str>,
        replaces: Option<&NodeName>,
        found: Option<u32>,
    ) -> Result<usize, Refusal> {
        if let Some(old) = replaces {
            return self.group_of_replaced(old);
        }

        let Some(name) = group else {
            return self.only_group();
        };
        let known = self
            .groups
            .iter()
            .position(|g| g.name == name && is_here(g));
        match (known, found) {
            (Some(at), _) => Ok(at),
            (None, Some(weight)) => self.found(name, weight),
            (None, None) => Err(Refusal::UnknownGroup(name.to_owned())),
        }
    }

    /// The group of a member whose place somebody takes.
    fn group_of_replaced(&self, old: &NodeName) -> Result<usize, Refusal> {
        let at = self
            .groups
            .iter()
            .position(|g: &Group| g.member(old).is_some_and(|m| m.state != MemberState::Left))
            .ok_or_else(|| Refusal::Unknown(old.clone()))?;

        let group = &self.groups[at];
        if let Some(other) = group.present().find(|m| m.replaces.as_ref() == Some(old)) {
            return Err(Refusal::ReplacedAlready {
                node: old.clone(),
                by: other.node.clone(),
            });
        }

        let state = group.member(old).map_or(MemberState::Left, |m| m.state);
        if state == MemberState::Joining {
            return Err(Refusal::State {
                node: old.clone(),
                state,
                wanted: "replaced",
            });
        }

        Ok(at)
    }

    /// The group that is meant where there is only one.
    fn only_group(&self) -> Result<usize, Refusal> {
        let mut known = self.groups.iter().enumerate().filter(|(_, g)| is_here(g));
        if let (Some((at, _)), None) = (known.next(), known.next()) {
            return Ok(at);
        }

        let here = self.groups.iter().filter(|g| is_here(g));
        Err(Refusal::WhichGroup(here.map(|g| g.name.clone()).collect()))
    }
}

fn is_here(group: &Group) -> bool {
    group.phase != GroupPhase::Gone
}
