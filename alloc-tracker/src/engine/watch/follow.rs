//! Blocks of memory that are followed to their free, whoever frees them.
//!
//! A unit that asked for it has each block that it allocates noted in a table, by address. While
//! there is such a unit, every thread's frees are looked up there, and the unit has its block back
//! in its books. The hooks insert and remove without a lock; see [`Table`].

use super::followers::is_idle;
use crate::engine::block_table::{Table, Words};
use crate::engine::measure::unit_pool::UnitRef;
use crate::engine::measure::work;

static TABLE: Table = Table::new();

/// Who holds a block, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    unit: u64,
    blocks: i64,
    bytes: i64,
}

impl Entry {
    fn of([unit, blocks, bytes]: Words) -> Self {
        let (blocks, bytes) = (blocks as i64, bytes as i64);
        Entry {
            unit,
            blocks,
            bytes,
        }
    }

    fn words(self) -> Words {
        [self.unit, self.blocks as u64, self.bytes as u64]
    }
}

fn take(address: usize) -> Option<Entry> {
    TABLE.remove(address).map(Entry::of)
}

/// The calling thread has allocated a block.
pub(crate) fn allocated(address: usize, size: usize) {
    if !is_idle() {
        note(address, 1, size as i64);
    }
}

/// Notes a block, or the part by which one grew, for the unit that the thread works for.
fn note(address: usize, blocks: i64, bytes: i64) {
    let Some(unit) = work::followed() else {
        return;
    };
    let entry = Entry {
        unit: unit.id(),
        blocks,
        bytes,
    };
    if place(address, entry) {
        unit.retain(blocks, bytes);
    } else {
        unit.lose_track();
    }
    admit_what_is_missed(unit);
}

/// A block is in the books of one unit, and of those around it when that was made. Any other unit
/// that the thread works for and that follows its blocks can say no more what it retains.
fn admit_what_is_missed(noted_for: UnitRef) {
    work::each_followed(|unit| {
        if !noted_for.is_inside(unit) {
            unit.lose_track_alone();
        }
    });
}

/// False: no memory.
fn place(address: usize, entry: Entry) -> bool {
    // Of a block that was freed while nobody looked: it is nobody's any more.
    if let Some(old) = take(address) {
        give_back(old);
    }
    TABLE.insert(address, entry.words())
}

/// The calling thread is about to free a block.
pub(crate) fn freed(address: usize) {
    if is_idle() {
        return;
    }
    if let Some(entry) = take(address) {
        give_back(entry);
    }
}

fn give_back(entry: Entry) {
    if let Some(unit) = UnitRef::of(entry.unit) {
        unit.retain(-entry.blocks, -entry.bytes);
    }
}

/// A block is about to be reallocated: its entry, which goes with it.
pub(crate) fn lift(address: usize) -> Option<Entry> {
    if is_idle() {
        return None;
    }
    // The entry of a unit that has ended stands for nothing.
    take(address).filter(|entry| UnitRef::of(entry.unit).is_some_and(UnitRef::is_alive))
}

/// It was not, after all.
pub(crate) fn put_back(entry: Option<Entry>, address: usize) {
    let Some(entry) = entry else { return };
    let lost = (!place(address, entry)).then(|| UnitRef::of(entry.unit));
    if let Some(unit) = lost.flatten() {
        unit.lose_track();
    }
}

/// It has grown by `grown` bytes, and is at `address`. A followed block stays its unit's, whoever
/// resizes it; of another's block, the growth is the resizing unit's.
pub(crate) fn put_down(entry: Option<Entry>, address: usize, grown: i64) {
    let Some(mut entry) = entry else {
        if grown > 0 && !is_idle() {
            note(address, 0, grown);
        }
        return;
    };
    let before = entry.bytes;
    // Of a block whose growth alone is the unit's, shrinking takes that first.
    entry.bytes = (before + grown).max(0);
    put_back(Some(entry), address);
    if let Some(unit) = UnitRef::of(entry.unit) {
        unit.retain(0, entry.bytes - before);
        if grown > 0 {
            admit_what_is_missed(unit);
        }
    }
}
