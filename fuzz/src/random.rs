//! A seed → inputs: known inputs, changed in places.

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

    /// One of `inputs` with bytes changed, cut, repeated, replaced by `words` or by another's.
    pub fn mutate(&mut self, inputs: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match inputs.get(self.below(inputs.len())) {
            Some(chosen) => {
                let start = if self.below(8) == 0 { self.below(chosen.len()) } else { 0 };
                let length = if self.below(4) == 0 { self.below(chosen.len() - start + 1) } else { chosen.len() };
                chosen[start..].iter().copied().take(length.min(16_384)).collect()
            }
            None => Vec::new(),
        };
        for _ in 0..=self.below(8) {
            self.change(&mut input, inputs, words);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>], words: &[Vec<u8>]) {
        let place = self.below(input.len() + 1);
        let end = (place + self.below(64)).min(input.len());
        match self.below(10) {
            0 if place < input.len() => input[place] = self.next() as u8,
            1 if place < input.len() => input[place] ^= 1 << self.below(8),
            2 if place < input.len() => input[place] = input[place].wrapping_add(self.below(9) as u8).wrapping_sub(4),
            3 => input.truncate(place),
            4 => {
                let part = input[place..end].to_vec();
                let other = self.below(input.len() + 1);
                input.splice(other..other, part);
            }
            5 => drop(input.drain(place..end)),
            6 => {
                let fresh: Vec<u8> = (0..self.below(24)).map(|_| self.next() as u8).collect();
                input.splice(place..place, fresh);
            }
            7 => {
                if let Some(other) = inputs.get(self.below(inputs.len())) {
                    let start = self.below(other.len());
                    let part = other[start..].iter().copied().take(self.below(256)).collect::<Vec<_>>();
                    input.splice(place..end, part);
                }
            }
            _ => {
                let Some(word) = words.get(self.below(words.len())) else { return };
                let end = if self.below(2) == 0 { place } else { (place + word.len()).min(input.len()) };
                input.splice(place..end, word.iter().copied());
            }
        }
    }
}
