//! A vector with holes that are filled again; indices stay valid until they are given back.

/// Values by index. Indices fit in `u32` because the number of values is bounded by configuration.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    /// No values.
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Values held.
    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Indices are below this.
    pub(super) fn capacity(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Keeps `value`; the index it has until it is removed.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(index as usize) {
                *slot = Some(value);
            }
            return index;
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        grow_gently(&mut self.slots);
        self.slots.push(Some(value));
        index
    }

    /// Gives back the value at `index`.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(value)
    }

    /// The value at `index`.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.as_ref()
    }

    /// The value at `index`.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.as_mut()
    }
}

/// Makes room for one more by an eighth: doubling would take a large part of the agent's memory at once.
pub(super) fn grow_gently<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_stay_valid_and_are_used_again() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        assert_eq!((slots.get(b), slots.len()), (Some(&'b'), 1));
        assert_eq!(slots.insert('c'), a);
        assert_eq!(slots.get_mut(a), Some(&mut 'c'));
    }
}
