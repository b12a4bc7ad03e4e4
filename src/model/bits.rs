//! [`Bits`]: a set of small numbers, one bit each.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// A set of numbers, in memory of an eighth of a byte for each up to the largest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

fn place(number: u64) -> (usize, u64) {
    (
        usize::try_from(number / 64).unwrap_or(usize::MAX),
        1u64.wrapping_shl(u32::try_from(number % 64).unwrap_or_default()),
    )
}

impl Bits {
    /// Adds `number`.
    pub fn insert(&mut self, number: u64) {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word.saturating_add(1), 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes `number` out.
    pub fn remove(&mut self, number: u64) {
        let (word, bit) = place(number);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// True if `number` was added.
    pub fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_in_and_nothing_else() {
        let mut bits = Bits::default();
        for number in [0, 63, 64, 65, 1000] {
            bits.insert(number);
        }
        bits.remove(65);
        bits.remove(70_000);
        let held: Vec<u64> = (0..2000).filter(|number| bits.contains(*number)).collect();
        assert_eq!(held, [0, 63, 64, 1000]);
    }
}
