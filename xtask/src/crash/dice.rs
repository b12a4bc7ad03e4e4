//! Chance that can be had again: everything follows from the seed.

/// Gives numbers.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// The dice of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// One of `items`.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(items.len());
        items.get(at)
    }

    /// Drops all but `count` of `items`, which keep their order.
    pub(crate) fn keep<T>(&mut self, items: &mut Vec<T>, count: usize) {
        while items.len() > count {
            let at = self.below(items.len());
            items.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_follows_from_the_seed_and_keeps_its_order() {
        let kept = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            Dice::new(seed).keep(&mut items, 10);
            items
        };
        let (one, other) = (kept(7), kept(8));
        assert_eq!(one, kept(7));
        assert_ne!(one, other);
        assert!(one.len() == 10 && one.is_sorted());
        assert_eq!(Dice::new(1).pick::<u8>(&[]), None);
    }
}
