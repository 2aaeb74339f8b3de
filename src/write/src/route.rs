//! Which part of a write goes to which group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use trireme_base::NodeName;
use trireme_ring::{GroupPhase, Placement, Ring};
use trireme_wire::batch::Batch;

/// What the ring says about series, for a node that does not take all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    placement: Placement,
    /// Index of the own group in the placement; `None` while it takes no series.
    own: Option<usize>,
    /// The own group gives its series away: what still comes for it goes on to the others.
    is_leaving: bool,
}

impl Route {
    /// The route of `me`; `None` if its group takes every series, or if the ring does not have it.
    pub fn of(ring: &Ring, me: &NodeName) -> Option<Self> {
        let group = ring.group_of(me)?;
        let placement = Placement::of(ring);
        let own = placement
            .groups()
            .iter()
            .position(|name| *name == group.name);
        let is_leaving = group.phase == GroupPhase::Leaving;

        (placement.groups().len() > 1 || own.is_none()).then_some(Self {
            placement,
            own,
            is_leaving,
        })
    }

    /// Names of the groups that take series.
    pub fn groups(&self) -> &[String] {
        self.placement.groups()
    }

    /// The own group's place among them.
    pub fn own(&self) -> Option<usize> {
        self.own
    }

    /// True if nothing may be stored here any more.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// The series of a batch by group. Nothing is hashed: the key of a series is its place.
    pub fn divide(&self, batch: &Batch) -> Vec<Vec<u32>> {
        let mut parts = vec![Vec::new(); self.groups().len()];
        for (i, series) in (0_u32..).zip(&batch.series) {
            parts[self.placement.group_of(series.key.place())].push(i);
        }
        parts
    }
}

/// The route as of the last ring. A node of the only group looks at one flag a request.
#[derive(Debug, Default)]
pub struct Routes {
    is_set: AtomicBool,
    route: RwLock<Option<Arc<Route>>>,
}

impl Routes {
    /// The route, if series are to be divided.
    #[inline]
    pub fn get(&self) -> Option<Arc<Route>> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        self.route.read().clone()
    }

    /// The ring has changed.
    pub fn set(&self, route: Option<Route>) {
        let mut known = self.route.write();
        self.is_set.store(route.is_some(), Ordering::Release);
        *known = route.map(Arc::new);
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::SeriesKey;
    use trireme_ring::{Group, Member};
    use trireme_wire::batch::BatchSeries;

    use super::*;

    fn ring(phases: [GroupPhase; 2]) -> Ring {
        let group = |name: &str, phase| {
            let members =
                [0, 1, 2].map(|i| Member::active(&format!("{name}-{i}"), &format!("{name}{i}:1")));
            Group {
                phase,
                ..Group::new(name, members.to_vec())
            }
        };
        Ring::new(2, 3, vec![group("a", phases[0]), group("b", phases[1])]).expect("valid")
    }

    fn route(phases: [GroupPhase; 2], me: &str) -> Option<Route> {
        Route::of(&ring(phases), &NodeName::new(me))
    }

    fn batch(series: u64) -> Batch {
        let key = |n: u64| SeriesKey(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Batch {
            series: (0..series)
                .map(|n| BatchSeries {
                    key: key(n),
                    labels: 0..0,
                    samples: 0..0,
                    histograms: 0..0,
                    exemplars: 0..0,
                })
                .collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn members_of_all_groups_divide_a_batch_alike_and_leave_nothing_out() {
        use GroupPhase::Serving;

        let of_a = route([Serving, Serving], "a-0");
        let of_b = route([Serving, Serving], "b-2");
        let of_a = of_a.expect("divides");
        let of_b = of_b.expect("divides");

        assert_eq!((of_a.own(), of_b.own()), (Some(0), Some(1)));
        let batch = batch(1_000);
        let parts = of_a.divide(&batch);

        assert_eq!(parts, of_b.divide(&batch));
        assert!(
            parts.iter().all(|part| part.len() > 300),
            "{:?}",
            parts.iter().map(Vec::len).collect::<Vec<_>>()
        );

        let mut all = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<u32>>());
    }

    #[test]
    fn one_group_that_takes_everything_needs_no_route() {
        use GroupPhase::{Forming, Leaving, Serving};

        assert_eq!(route([Serving, Forming], "a-0"), None);
        assert_eq!(route([Leaving, Serving], "b-0"), None);
        assert_eq!(route([Serving, Serving], "x"), None);

        let forming = route([Serving, Forming], "b-0").expect("gives all away");
        assert!(forming.own().is_none() && !forming.is_leaving());
        let leaving = route([Leaving, Serving], "a-0").expect("gives all away");
        assert!(leaving.own().is_none() && leaving.is_leaving());

        assert_eq!(leaving.divide(&batch(9)), [(0..9).collect::<Vec<u32>>()]);
    }

    #[test]
    fn a_route_can_be_taken_back() {
        let routes = Routes::default();
        assert!(routes.get().is_none());
        routes.set(route([GroupPhase::Serving; 2], "a-0"));
        assert!(routes.get().is_some());
        routes.set(None);
        assert!(routes.get().is_none());
    }
}
