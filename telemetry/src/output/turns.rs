//! Who goes first: the first of every group before the second of any.

use std::collections::BTreeMap;

/// Items with the first of every group before the second of any.
pub(super) struct Turns<T> {
    items: std::vec::IntoIter<Box<T>>,
    next: Option<Box<T>>,
}

pub(super) fn in_turns<T, G: Ord>(items: Vec<Box<T>>, group: impl Fn(&T) -> G) -> Turns<T> {
    let mut seen: BTreeMap<G, usize> = BTreeMap::new();
    let mut numbered: Vec<(usize, Box<T>)> = Vec::with_capacity(items.len());
    for item in items {
        let number = seen.entry(group(&item)).or_default();
        numbered.push((*number, item));
        *number += 1;
    }
    // Stable: those of one turn stay in the order in which they came.
    numbered.sort_by_key(|(number, _)| *number);
    let items: Vec<Box<T>> = numbered.into_iter().map(|(_, item)| item).collect();
    Turns {
        items: items.into_iter(),
        next: None,
    }
}

impl<T> Turns<T> {
    pub(super) fn put_back(&mut self, item: Box<T>) {
        self.next = Some(item);
    }
}

impl<T> Iterator for Turns<T> {
    type Item = Box<T>;

    fn next(&mut self) -> Option<Box<T>> {
        self.next.take().or_else(|| self.items.next())
    }
}
