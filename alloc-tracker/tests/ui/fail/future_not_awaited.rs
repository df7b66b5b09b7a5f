use alloc_tracker::{assert_budget, assert_no_alloc};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;

async fn work() -> Vec<u8> {
    vec![1]
}

async fn test() {
    drop(assert_budget!(allocs <= 0, { work() }));
    drop(assert_no_alloc!(work()));
    drop(assert_no_alloc!({ Some(work()) }));
    drop(assert_budget!(allocs <= 0, async { work() }));
    drop(assert_budget!(allocs <= 0, { (work().await, work()).1 }));
}

fn run() {
    drop(alloc_tracker::Budget::new().allocs(0).run(|| work()));
}

type Deep<F> = Result<Option<Arc<Mutex<VecDeque<F>>>>, u8>;

fn inside_of_other_values() {
    drop(assert_no_alloc!((1, work())));
    drop(assert_no_alloc!((work(), work())));
    drop(assert_no_alloc!(Deep::Ok(Some(Arc::new(Mutex::new(VecDeque::from([work()])))))));
    drop(assert_no_alloc!(HashMap::from([(1, Rc::new(work()))])));
    drop(assert_no_alloc!(Poll::Ready((1, ControlFlow::<_, ()>::Break(work())))));
}

fn in_what_wraps_one_value() {
    drop(assert_no_alloc!(std::cell::LazyCell::new(|| work())));
    drop(assert_no_alloc!(std::sync::LazyLock::new(|| work())));
    drop(assert_no_alloc!(std::cell::UnsafeCell::new(work())));
    let _ = assert_no_alloc!(std::mem::ManuallyDrop::new(work()));
    let _ = assert_no_alloc!(std::mem::MaybeUninit::new(work()));
    drop(assert_no_alloc!(std::num::Wrapping(work())));
    drop(assert_no_alloc!(std::num::Saturating(work())));
    drop(assert_no_alloc!(std::cmp::Reverse(work())));
    drop(assert_no_alloc!(std::ops::Bound::Included(work())));
    drop(assert_no_alloc!(vec![work()].into_iter()));
    drop(assert_no_alloc!(Some(work()).into_iter()));
    drop(assert_no_alloc!(Ok::<_, u8>(work()).into_iter()));
    drop(assert_no_alloc!([work()].into_iter()));
    drop(assert_no_alloc!(std::iter::once(work())));
    drop(assert_no_alloc!(std::iter::repeat(std::future::ready(1))));
}

macro_rules! todo {
    () => {
        work()
    };
}

fn by_what_may_look_like_leaving(early: bool) {
    drop(assert_no_alloc!({
        'a: {
            if early {
                break 'a work();
            }
            break 'a work();
        }
    }));
    drop(assert_no_alloc!({ todo!() }));
}

fn main() {}
