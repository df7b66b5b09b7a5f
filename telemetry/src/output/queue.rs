//! The bounded queue from the application's threads to the background thread. Whoever finds it
//! full goes on without.

use crate::{events, exemplars};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

/// The most that wait between two flushes.
pub(crate) const MOST_ITEMS: usize = 4096;
/// The most bytes that they take.
const MOST_BYTES: usize = 2 << 20;

/// What waits to be written.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Box<events::Captured>),
    Exemplar(Box<exemplars::Captured>),
}

impl Item {
    fn is_plain_event(&self) -> bool {
        matches!(self, Item::Event(event) if !event.call_site.is_error())
    }

    fn size(&self) -> usize {
        match self {
            Item::Event(event) => event.size(),
            Item::Exemplar(exemplar) => exemplar.size(),
        }
    }
}

/// The share of the queue that plain events leave for ERROR events and exemplars.
const EVENTS_LEAVE: usize = 4;

/// A push neither waits nor locks.
#[derive(Debug)]
pub(crate) struct Queue {
    items: AtomicUsize,
    sender: SyncSender<Item>,
    /// Read by one process alone: see [`Queue::drain`].
    receiver: Mutex<Receiver<Item>>,
    bytes: AtomicUsize,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = sync_channel(MOST_ITEMS);
        Queue {
            sender,
            receiver: Mutex::new(receiver),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Gives the item back if there is no room for it.
    pub(crate) fn push(&self, item: Item) -> Result<(), Item> {
        let size = item.size();
        let leave = if item.is_plain_event() {
            EVENTS_LEAVE
        } else {
            usize::MAX
        };
        let (items, bytes) = (self.items.load(Relaxed), self.bytes.load(Relaxed));
        // Relaxed: the bounds are on memory, and may be passed by what threads add at once.
        if bytes + size > MOST_BYTES - MOST_BYTES / leave
            || items >= MOST_ITEMS - MOST_ITEMS / leave
        {
            return Err(item);
        }
        self.items.fetch_add(1, Relaxed);
        self.bytes.fetch_add(size, Relaxed);
        self.sender.try_send(item).map_err(|error| {
            self.items.fetch_sub(1, Relaxed);
            self.bytes.fetch_sub(size, Relaxed);
            match error {
                TrySendError::Full(item) | TrySendError::Disconnected(item) => item,
            }
        })
    }

    /// What waits now. Not in the child of a fork, where another thread's push may never be done.
    pub(crate) fn drain(&self) -> Vec<Item> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than fit: an application that adds faster than we take must not hold us here.
        let items: Vec<Item> = receiver.try_iter().take(MOST_ITEMS).collect();
        let size = items.iter().map(Item::size).sum();
        self.items.fetch_sub(items.len(), Relaxed);
        self.bytes.fetch_sub(size, Relaxed);
        items
    }
}
