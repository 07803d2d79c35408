//! Numbers that look random and are the same for the same seed, so that what failed can be done again.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Seed(u64);

// === impl Seed ===

impl Seed {
    /// The beginning of one row of numbers.
    pub fn new(seed: u64) -> Self {
        Seed(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An index below `of`; 0 if that is 0.
    pub fn below(&mut self, of: usize) -> usize {
        self.number().checked_rem(of as u64).map_or(0, |index| index as usize)
    }

    /// One of these.
    ///
    /// # Panics
    /// If there is none.
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_numbers_again() {
        let row = |seed| {
            let mut seed = Seed::new(seed);
            [seed.number(), seed.number(), seed.below(10) as u64]
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        assert_eq!(Seed::new(7).below(0), 0);
    }
}
