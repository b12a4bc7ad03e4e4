//! Random numbers that are the same every time: every tree and every change follows from its seed alone.

/// A `SplitMix64` generator.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator that follows from the words of the seed.
    pub(super) fn new(seed: &str) -> Self {
        Self(seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("invariant: sizes fit into 64 bits");
        usize::try_from(self.next() % end).expect("invariant: it is below a size")
    }

    /// A number from `start` on and below `end`.
    pub(super) fn between(&mut self, start: usize, end: usize) -> usize {
        start + self.below(end - start)
    }

    /// One of the choices, which must not be empty.
    pub(super) fn choice<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.get(self.below(choices.len())).expect("invariant: the index is below the length")
    }

    /// Bytes that do not compress.
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Text like that of a mediation configuration, which compresses as such text does.
    pub(super) fn text(&mut self, count: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "<sequence",
            "name=",
            "<log",
            "level=",
            "custom",
            "<property",
            "expression=",
            "/>",
            "<call>",
            "<endpoint",
            "key=",
            "payloadFactory",
            "</api>",
            "json",
            "http://",
            "mediator",
        ];
        let mut text = Vec::with_capacity(count + 32);
        while text.len() < count {
            text.extend_from_slice(self.choice(&WORDS).as_bytes());
            if self.below(10) < 4 {
                text.extend_from_slice(self.below(1_000_000).to_string().as_bytes());
            }
            text.push(b' ');
        }
        text.truncate(count);
        text
    }

    /// Several of the choices, each at most once.
    pub(super) fn sample<T: Clone>(&mut self, choices: &[T], count: usize) -> Vec<T> {
        let mut rest = choices.to_vec();
        let count = count.min(rest.len());
        (0..count).map(|_| rest.swap_remove(self.below(rest.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
        assert_eq!(Random::new("a").bytes(100), Random::new("a").bytes(100));
        assert_ne!(Random::new("a").bytes(100), Random::new("b").bytes(100));
        // The published first output for the state 0.
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn samples_do_not_repeat() {
        let mut sample = Random::new("s").sample(&[1, 2, 3, 4, 5], 4);
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 4);
        assert_eq!(Random::new("s").text(77).len(), 77);
    }
}
