use std::future::{Ready, ready};

#[alloc_tracker::budget(allocs = 1)]
fn ready_made() -> Ready<u8> {
    ready(1)
}

#[alloc_tracker::budget(allocs = 1)]
fn generic<F: std::future::Future>(future: F) -> F {
    future
}

#[alloc_tracker::budget(allocs = 1)]
async fn a_future_of_a_future() -> Ready<u8> {
    ready(1)
}

#[alloc_tracker::budget(allocs = 1)]
fn in_a_result() -> Result<impl std::future::Future<Output = u8>, ()> {
    Ok(ready(1))
}

#[alloc_tracker::budget(allocs = 1)]
fn to_be_made() -> impl IntoFuture<Output = u8> {
    ready(1)
}

#[alloc_tracker::budget(allocs = 1)]
fn in_a_tuple() -> (impl Future<Output = u8>, u8) {
    (ready(1), 1)
}

#[alloc_tracker::budget(allocs = 1)]
fn boxed_but_not_pinned() -> Box<dyn Future<Output = u8>> {
    Box::new(ready(1))
}

#[alloc_tracker::budget(allocs = 1)]
fn many() -> Vec<Ready<u8>> {
    vec![ready(1)]
}

type BoxFuture = std::pin::Pin<Box<Ready<u8>>>;

#[alloc_tracker::budget(allocs = 1)]
fn not_what_it_is_called() -> BoxFuture {
    Box::pin(ready(1))
}

trait Job: Future {}

impl Job for Ready<u8> {}

#[alloc_tracker::budget(allocs = 1)]
fn by_another_trait() -> impl Job {
    ready(1)
}

#[alloc_tracker::budget(allocs = 1)]
async fn by_another_trait_out_of_a_future() -> (u8, impl Job) {
    (1, ready(1))
}

#[alloc_tracker::budget(allocs = 1)]
fn by_another_trait_in_a_box() -> Box<dyn Job<Output = u8>> {
    Box::new(ready(1))
}

#[alloc_tracker::budget(allocs = 1)]
fn beside_another_value() -> (u8, Ready<u8>) {
    (1, ready(1))
}

#[alloc_tracker::budget(allocs = 1)]
fn deep_inside() -> Result<Option<std::rc::Rc<std::cell::RefCell<Ready<u8>>>>, u8> {
    Err(1)
}

fn main() {}
