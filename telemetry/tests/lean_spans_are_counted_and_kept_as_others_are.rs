//! What other test programs say of spans in the `Registry` is true of lean ones.

// Each of the programs brings its own copy of what they share.
#![allow(clippy::duplicate_mod)]

#[path = "events_are_limited_and_counted_exactly.rs"]
mod events;
#[path = "units_that_matter_are_kept_in_detail.rs"]
mod kept;
#[path = "units_are_counted_in_every_shape_of_program.rs"]
mod shapes;
