//! The boundaries that a unit in progress has crossed.

use crate::cost::{BOUNDARIES_PER_UNIT, Boundaries, BoundaryId, FinishedBoundary};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The last is for what the others have no room for.
#[derive(Debug, Default)]
pub(super) struct Crossed([Cell; BOUNDARIES_PER_UNIT]);

#[derive(Debug, Default)]
struct Cell {
    /// The boundary's number plus one; 0 while unused.
    id: AtomicU32,
    calls: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Crossed {
    /// Adds to the figures of one.
    pub(super) fn add(&self, boundary: BoundaryId, calls: u64, sent: u64, received: u64) {
        let cell = self.of(boundary);
        for (sum, n) in [
            (&cell.calls, calls),
            (&cell.sent, sent),
            (&cell.received, received),
        ] {
            if n > 0 {
                sum.fetch_add(n, Relaxed);
            }
        }
    }

    fn of(&self, boundary: BoundaryId) -> &Cell {
        let (last, cells) = (&self.0[BOUNDARIES_PER_UNIT - 1], &self.0);
        // What has no name of its own goes to the last cell, where the ninth boundary goes too.
        let named = if boundary == BoundaryId::OTHER {
            0
        } else {
            BOUNDARIES_PER_UNIT - 1
        };
        for cell in &cells[..named] {
            let id = boundary.0 + 1;
            let found = match cell.id.load(Relaxed) {
                0 => match cell.id.compare_exchange(0, id, Relaxed, Relaxed) {
                    Ok(_) => id,
                    Err(winner) => winner,
                },
                found => found,
            };
            if found == id {
                return cell;
            }
        }
        last.id.store(BoundaryId::OTHER.0 + 1, Relaxed);
        last
    }

    pub(super) fn fill(&self, boundaries: &mut Boundaries) {
        for cell in &self.0 {
            if let Some(id) = cell.id.load(Relaxed).checked_sub(1) {
                boundaries.push(FinishedBoundary {
                    id: BoundaryId(id),
                    calls: cell.calls.load(Relaxed),
                    sent: cell.sent.load(Relaxed),
                    received: cell.received.load(Relaxed),
                });
            }
        }
    }

    pub(super) fn reset(&self) {
        for cell in &self.0 {
            if cell.id.load(Relaxed) == 0 {
                continue;
            }
            cell.id.store(0, Relaxed);
            cell.calls.store(0, Relaxed);
            cell.sent.store(0, Relaxed);
            cell.received.store(0, Relaxed);
        }
    }
}
