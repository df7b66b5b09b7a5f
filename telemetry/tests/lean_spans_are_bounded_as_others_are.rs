//! What another test program says of bounds with spans in the `Registry` is true of lean ones.

#[path = "what_is_bounded_stays_bounded_and_nothing_is_lost_unseen.rs"]
mod bounds;
