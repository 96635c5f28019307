//! The distinct values of a column, and where each stands.

/// Distinct 64-bit patterns in the order of their appearance, and the place of each.
#[derive(Debug)]
pub(super) struct Interner {
    /// Places plus one; 0 is free. Twice as many as entries at least.
    slots: Vec<u32>,
    shift: u32,
    pub(super) entries: Vec<u64>,
}

impl Interner {
    pub(super) fn with_capacity(entries: usize) -> Self {
        let slots = (entries.max(8) * 2).next_power_of_two();
        Self {
            slots: vec![0; slots],
            shift: u64::BITS - slots.trailing_zeros(),
            entries: Vec::new(),
        }
    }

    /// Where `bits` stands or now stands.
    pub(super) fn place(&mut self, bits: u64) -> u32 {
        let slot = self.slot(bits);
        match self.slots[slot] {
            0 => {
                self.entries.push(bits);
                let place = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                self.slots[slot] = place;
                if self.entries.len() * 2 > self.slots.len() {
                    self.grow();
                }
                place - 1
            }
            place => place - 1,
        }
    }

    /// The slot that holds `bits`, or the free one where it belongs.
    fn slot(&self, bits: u64) -> usize {
        // Fibonacci hashing: the product's high bits depend on every bit below.
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        let mut slot = usize::try_from(hash).unwrap_or(0);
        loop {
            match self.slots[slot] {
                0 => return slot,
                place if self.entries[place as usize - 1] == bits => return slot,
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn grow(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        *self = Self::with_capacity(self.slots.len());
        for bits in entries {
            self.place(bits);
        }
    }

    /// Forgets all but the first `entries`.
    pub(super) fn truncate(&mut self, entries: usize) {
        while self.entries.len() > entries {
            let Some(&bits) = self.entries.last() else {
                return;
            };
            // The entry that came last stands where probing ends: taking it out leaves the table as it was before it.
            let slot = self.slot(bits);
            self.slots[slot] = 0;
            self.entries.pop();
        }
    }
}
