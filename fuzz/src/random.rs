//! A seed → inputs: sample bytes, changed in places.

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A seed with bytes changed, cut, repeated, or replaced by words of the protocol.
    pub fn mutate(&mut self, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
        let mut input = match seeds.get(self.below(seeds.len())) {
            Some(seed) => {
                let start = if self.below(2) == 0 { 0 } else { self.below(seed.len()) };
                let end = start + self.below(seed.len() - start + 1).min(16_384);
                seed[start..end].to_vec()
            }
            None => Vec::new(),
        };
        for _ in 0..=self.below(12) {
            let place = self.below(input.len() + 1);
            match self.below(6) {
                0 if place < input.len() => input[place] = self.next() as u8,
                1 if place < input.len() => input[place] ^= 1 << self.below(8),
                2 => input.truncate(place),
                3 => {
                    let end = (place + self.below(64)).min(input.len());
                    let part = input[place..end].to_vec();
                    input.splice(place..place, part);
                }
                4 => drop(input.drain(place..(place + self.below(32)).min(input.len()))),
                _ => {
                    let word = words[self.below(words.len())];
                    let end = if self.below(2) == 0 { place } else { (place + word.len()).min(input.len()) };
                    input.splice(place..end, word.iter().copied());
                }
            }
        }
        input
    }
}
