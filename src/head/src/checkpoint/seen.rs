//! What a checkpoint has named so far: later parts may refer to nothing else.

use super::codec::Malformed;
use crate::streams::NO_SLOT;

/// A set of small numbers.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// False if it was there.
    fn insert(&mut self, number: u32) -> bool {
        let word = number as usize / 64;
        let bit = 1 << (number % 64);

        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }

        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    fn contains(&self, number: u32) -> bool {
        self.0
            .get(number as usize / 64)
            .is_some_and(|word| word & 1 << (number % 64) != 0)
    }
}

#[derive(Default)]
struct SeenTenant {
    /// Numbers there are.
    numbers: u32,
    /// Those with a name.
    names: Bits,
    pairs: Bits,
}

/// Tenants, names, pairs and series of the parts read so far.
#[derive(Default)]
pub(super) struct Seen {
    tenants: Vec<SeenTenant>,
    slots: Bits,
    /// Series.
    pub series: u64,
}

impl Seen {
    /// Number of the next tenant.
    pub fn next_tenant(&self) -> u32 {
        self.tenants.len() as u32
    }

    pub fn add_tenant(&mut self) {
        self.tenants.push(SeenTenant::default());
    }

    pub fn has_tenant(&self, tenant: u32) -> bool {
        (tenant as usize) < self.tenants.len()
    }

    fn tenant(&mut self, tenant: u32) -> Result<&mut SeenTenant, Malformed> {
        self.tenants.get_mut(tenant as usize).ok_or(Malformed)
    }

    /// The next name of a tenant; an empty one is a number without a name.
    pub fn add_name(&mut self, tenant: u32, name: &str) -> Result<(), Malformed> {
        let of_tenant = self.tenant(tenant)?;
        if !name.is_empty() {
            of_tenant.names.insert(of_tenant.numbers);
        }
        of_tenant.numbers = of_tenant.numbers.checked_add(1).ok_or(Malformed)?;
        Ok(())
    }

    /// A pair whose name is known, once.
    pub fn add_pair(&mut self, tenant: u32, id: u32, name: u32) -> Result<(), Malformed> {
        let of_tenant = self.tenant(tenant)?;
        let is_fit = of_tenant.names.contains(name) && of_tenant.pairs.insert(id);
        if is_fit { Ok(()) } else { Err(Malformed) }
    }

    /// A series whose pairs are known, in a slot of its own.
    pub fn add_series(&mut self, slot: u32, tenant: u32, pairs: &[u32]) -> Result<(), Malformed> {
        let of_tenant = self.tenant(tenant)?;
        let are_known = pairs.iter().all(|id| of_tenant.pairs.contains(*id));
        if !are_known || slot == NO_SLOT || !self.slots.insert(slot) {
            return Err(Malformed);
        }
        self.series += 1;
        Ok(())
    }

    pub fn has_slot(&self, slot: u32) -> bool {
        self.slots.contains(slot)
    }
}
