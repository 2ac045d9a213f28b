//! Equal texts and records → one of them, shared.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Holds one of each that is in use. What nobody else holds any more goes when the number has doubled.
#[derive(Debug)]
pub(super) struct Interner<T: ?Sized + Eq + Hash> {
    known: HashSet<Arc<T>, RandomState>,
    /// Look for what is not in use any more when there are so many.
    full: usize,
}

impl<T: ?Sized + Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self { known: HashSet::default(), full: 1024 }
    }
}

impl<T: ?Sized + Eq + Hash> Interner<T> {
    /// The one that is equal to `value`, which becomes it when there is none.
    pub(super) fn get<Q>(&mut self, value: Q) -> Arc<T>
    where
        Arc<T>: From<Q>,
        Q: Borrow<T>,
    {
        if let Some(known) = self.known.get(value.borrow()) {
            return known.clone();
        }
        if self.known.len() >= self.full {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.known.shrink_to_fit();
            self.full = (2 * self.known.len()).max(1024);
        }
        let value = Arc::from(value);
        self.known.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let mut names = Interner::<str>::default();
        let one = names.get("shop");
        assert!(Arc::ptr_eq(&one, &names.get("shop")));
        assert!(!Arc::ptr_eq(&one, &names.get("shop2")));
    }

    #[test]
    fn what_nobody_holds_goes() {
        let mut names = Interner::<str>::default();
        let held = names.get("held");
        for number in 0..100_000 {
            names.get(number.to_string().as_str());
        }
        assert!(names.known.len() <= 1024, "{}", names.known.len());
        assert!(Arc::ptr_eq(&held, &names.get("held")));
    }
}
