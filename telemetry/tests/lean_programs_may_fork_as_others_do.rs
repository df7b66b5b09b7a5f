//! The tests of forked children, with `Lean` around the registry.

#[path = "a_forked_child_ends_and_says_that_it_is_one.rs"]
mod forks;
