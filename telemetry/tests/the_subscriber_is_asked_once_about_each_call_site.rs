//! To find out which units others hide, the subscriber is asked about call sites: once about each. One test in a program
//! of its own: whenever a subscriber is made, all others are asked.

mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use telemetry::Lean;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Metadata, Subscriber, dispatcher, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

/// Counts how often it is asked about call sites.
struct Asked(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Asked {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        self.0.fetch_add(1, SeqCst);
        Interest::always()
    }
}

#[test]
fn the_subscriber_is_asked_once_about_each_call_site() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (builder, _written) = written::builder();
    let (layer, telemetry) = builder.build().unwrap();
    let subscriber = registry().with(Asked(Arc::clone(&asked))).with(layer);
    let dispatch = Dispatch::new(Lean::new(subscriber));
    dispatcher::with_default(&dispatch, || {
        info_span!("unit").in_scope(|| {
            // These are never units: nobody finds out more about them.
            info_span!("a").in_scope(|| ());
            info_span!("b").in_scope(|| ());
        });
    });
    telemetry.flush();
    let so_far = asked.load(SeqCst);
    for _ in 0..20 {
        dispatcher::with_default(&dispatch, || info_span!("unit again").in_scope(|| ()));
        telemetry.flush();
    }
    // One more call site: registered, muted, and asked about.
    let more = asked.load(SeqCst) - so_far;
    assert!(more <= 10, "{more} times, after {so_far}");
}
