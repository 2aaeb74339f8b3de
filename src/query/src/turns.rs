//! Whose turn it is: a fair queue in front of a fixed number of places.
//!
//! Each tenant has a line of its own. A free place goes to the tenant that holds the fewest places, and among those to the
//! one whose work has taken the least time so far, so that a tenant with many or with heavy queries waits for its own. A
//! tenant never holds all places: whoever comes next finds one. Pure bookkeeping, without a clock and without waiting.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use trireme_model::Tenant;

/// How many places there are, and how many may wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// Work at the same time.
    pub places: usize,
    /// Waiting at the same time, of one tenant.
    pub waiting_max: usize,
}

impl TurnLimits {
    /// Places that one tenant may hold: all but a quarter, which is at least one.
    pub fn places_of_tenant(&self) -> usize {
        self.places.saturating_sub(self.places.div_ceil(4)).max(1)
    }

    /// Waiting at the same time, of all tenants: tenants are many, and a header makes one.
    fn waiting_of_all_max(&self) -> usize {
        self.waiting_max.saturating_mul(16)
    }
}

/// The answer to who comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A place was free, and is taken now.
    Now,
    /// Wait; this is the number to give up with.
    Wait(u64),
    /// As many are waiting as may.
    Full,
}

/// Places and who waits for them. `W` is what wakes who waits.
pub struct Turns<W> {
    limits: TurnLimits,
    taken: usize,
    waiting: usize,
    lines: HashMap<Tenant, Line<W>>,
    next_number: u64,
    /// Places that a tenant may hold by a limit of its own; 0 for no such limit.
    own_places: Box<dyn Fn(&Tenant) -> usize + Send + Sync>,
    /// What the tenant had spent that got the last turn; a newcomer starts here, and not with an advantage.
    spent_floor: Duration,
}

struct Line<W> {
    taken: usize,
    /// As many as the tenant may hold.
    places: usize,
    spent: Duration,
    waiting: VecDeque<(u64, W)>,
}

impl<W> Turns<W> {
    /// All places are free.
    pub fn new(limits: TurnLimits) -> Self {
        Self::with_own_places(limits, |_| 0)
    }

    /// The same with limits of tenants of their own: `own_places` gives the places that a tenant may hold, 0 for as many as
    /// any other.
    pub fn with_own_places(
        limits: TurnLimits,
        own_places: impl Fn(&Tenant) -> usize + Send + Sync + 'static,
    ) -> Self {
        Self {
            limits,
            taken: 0,
            waiting: 0,
            lines: HashMap::new(),
            next_number: 0,
            own_places: Box::new(own_places),
            spent_floor: Duration::ZERO,
        }
    }

    /// The limits.
    pub fn limits(&self) -> TurnLimits {
        self.limits
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a place of the tenant's, or joins its line with what `waker` makes.
    pub fn enter(&mut self, tenant: &Tenant, waker: impl FnOnce() -> W) -> Turn {
        let floor = self.spent_floor;
        let of_any = self.limits.places_of_tenant();
        let own_places = &self.own_places;
        let line = self.lines.entry(tenant.clone()).or_insert_with(|| Line {
            taken: 0,
            places: match own_places(tenant) {
                0 => of_any,
                own => own.min(of_any),
            },
            spent: floor,
            waiting: VecDeque::new(),
        });

        let is_free = self.taken < self.limits.places && line.taken < line.places;
        if is_free && line.waiting.is_empty() {
            line.taken += 1;
            self.taken += 1;
            return Turn::Now;
        }

        let line_is_full = line.waiting.len() >= self.limits.waiting_max;
        if line_is_full || self.waiting >= self.limits.waiting_of_all_max() {
            self.forget_if_idle(tenant);
            return Turn::Full;
        }

        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        line.waiting.push_back((number, waker()));

        Turn::Wait(number)
    }

    /// Leaves the line. False if the turn has come already: then the place is held and must be left.
    pub fn give_up(&mut self, tenant: &Tenant, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(tenant) else {
            return false;
        };
        let Some(at) = line
            .waiting
            .iter()
            .position(|(waiting, _)| *waiting == number)
        else {
            return false;
        };

        line.waiting.remove(at);
        self.waiting -= 1;
        self.forget_if_idle(tenant);

        true
    }

    /// Gives a place back that was held for `spent`.
    pub fn leave(&mut self, tenant: &Tenant, spent: Duration) {
        let Some(line) = self.lines.get_mut(tenant) else {
            return;
        };
        line.taken -= 1;
        line.spent += spent;
        self.taken -= 1;
        self.forget_if_idle(tenant);
    }

    /// Whoever has the next turn; its place is taken. Ask again until there is nobody.
    pub fn admit(&mut self) -> Option<(Tenant, W)> {
        if self.taken >= self.limits.places {
            return None;
        }

        let able = |line: &Line<W>| !line.waiting.is_empty() && line.taken < line.places;
        let best = self.lines.iter().filter(|(_, line)| able(line));
        let best = best.min_by_key(|(_, line)| (line.taken, line.spent, line.waiting[0].0));
        let tenant = best?.0.clone();

        let line = self.lines.get_mut(&tenant)?;
        let (_, waker) = line.waiting.pop_front()?;
        line.taken += 1;
        self.spent_floor = self.spent_floor.max(line.spent);
        self.taken += 1;
        self.waiting -= 1;

        Some((tenant, waker))
    }

    fn forget_if_idle(&mut self, tenant: &Tenant) {
        if self
            .lines
            .get(tenant)
            .is_some_and(|line| line.taken == 0 && line.waiting.is_empty())
        {
            self.lines.remove(tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("a valid name")
    }

    fn turns(places: usize, waiting_max: usize) -> Turns<&'static str> {
        Turns::new(TurnLimits {
            places,
            waiting_max,
        })
    }

    #[test]
    fn one_tenant_never_holds_all_places() {
        let heavy = tenant("heavy");
        let light = tenant("light");
        let mut turns = turns(4, 10);
        let got: Vec<Turn> = (0..5).map(|_| turns.enter(&heavy, || "heavy")).collect();

        assert_eq!(
            got,
            [
                Turn::Now,
                Turn::Now,
                Turn::Now,
                Turn::Wait(0),
                Turn::Wait(1)
            ]
        );

        assert_eq!(turns.enter(&light, || "light"), Turn::Now);
        assert_eq!(turns.admit(), None, "the light one has the last place");
    }

    #[test]
    fn a_tenant_with_a_limit_of_its_own_holds_no_more_places() {
        let small = tenant("small");
        let other = tenant("other");
        let limits = TurnLimits {
            places: 8,
            waiting_max: 10,
        };
        let mut turns =
            Turns::with_own_places(limits, |tenant| usize::from(tenant.as_str() == "small") * 2);
        let got: Vec<Turn> = (0..4).map(|_| turns.enter(&small, || "small")).collect();

        assert_eq!(got, [Turn::Now, Turn::Now, Turn::Wait(0), Turn::Wait(1)]);
        let got: Vec<Turn> = (0..6).map(|_| turns.enter(&other, || "other")).collect();
        assert_eq!(got, [Turn::Now; 6]);
        assert_eq!(turns.admit(), None, "its two places are taken");
        turns.leave(&small, Duration::ZERO);
        assert_eq!(turns.admit(), Some((small, "small")));
        assert_eq!(turns.admit(), None);
    }

    #[test]
    fn a_free_place_goes_to_who_had_the_least() {
        let heavy = tenant("heavy");
        let light = tenant("light");
        let mut turns = turns(1, 10);

        assert_eq!(turns.enter(&heavy, || "heavy 1"), Turn::Now);
        turns.enter(&heavy, || "heavy 2");
        turns.enter(&heavy, || "heavy 3");
        turns.enter(&light, || "light 1");
        turns.enter(&light, || "light 2");

        let mut order = Vec::new();
        turns.leave(&heavy, Duration::from_secs(10));

        while let Some((tenant, waker)) = turns.admit() {
            order.push(waker);
            let spent = if waker.starts_with("heavy") { 10 } else { 1 };
            turns.leave(&tenant, Duration::from_secs(spent));
        }

        assert_eq!(order, ["light 1", "light 2", "heavy 2", "heavy 3"]);
        assert_eq!(
            (turns.taken(), turns.waiting(), turns.lines.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_line_is_bounded_and_can_be_left() {
        let one = tenant("one");
        let mut turns = turns(1, 2);
        assert_eq!(turns.enter(&one, || "a"), Turn::Now);
        assert_eq!(turns.enter(&one, || "b"), Turn::Wait(0));
        assert_eq!(turns.enter(&one, || "c"), Turn::Wait(1));
        assert_eq!(turns.enter(&one, || "d"), Turn::Full);

        assert!(turns.give_up(&one, 0) && !turns.give_up(&one, 0));
        turns.leave(&one, Duration::ZERO);
        assert_eq!(turns.admit(), Some((one.clone(), "c")));

        assert!(!turns.give_up(&one, 1), "its turn has come");
    }

    #[test]
    fn lines_of_many_tenants_are_bounded_together() {
        let mut turns = turns(1, 1);
        assert_eq!(turns.enter(&tenant("first"), || ""), Turn::Now);
        let waiting =
            (0..100).filter(|i| turns.enter(&tenant(&format!("t{i}")), || "") != Turn::Full);
        assert_eq!(waiting.count(), 16);
        assert_eq!(turns.lines.len(), 17, "who was refused is not kept");
    }
}
