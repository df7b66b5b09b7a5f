//! Another layer traces, and says on which thread it is where, as OpenTelemetry's does.

mod written;

use std::cell::RefCell;
use telemetry::Lean;
use telemetry::record::TraceIds;
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Metadata, Subscriber, dispatcher, info, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

thread_local! {
    static CURRENT: RefCell<Vec<TraceIds>> = const { RefCell::new(Vec::new()) };
}

/// Every span is one of the same trace, by its id.
struct Traces;

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Traces {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let ids = TraceIds::new(0xabc_u128.to_be_bytes(), id.into_u64().to_be_bytes());
        cx.span(id).unwrap().extensions_mut().insert(ids);
    }

    fn on_enter(&self, id: &Id, cx: Context<'_, S>) {
        let ids = *cx.span(id).unwrap().extensions().get().unwrap();
        CURRENT.with_borrow_mut(|current| current.push(ids));
    }

    fn on_exit(&self, _: &Id, _: Context<'_, S>) {
        CURRENT.with_borrow_mut(|current| current.pop());
    }
}

fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.name() != "untraced"
}

fn id(span: &tracing::Span) -> String {
    format!("{:016x}", span.id().unwrap().into_u64())
}

#[test]
fn both_have_the_ids_that_were_current_there() {
    for lean in [false, true] {
        let (builder, written) = written::builder();
        let builder = builder.trace_sample(1.0);
        let builder = builder.trace_ids(|| {
            let current = CURRENT.with_borrow(|current| current.last().copied());
            // It may do what it likes.
            drop(std::hint::black_box(format!("{current:?}")));
            info_span!("inside of it").in_scope(|| current)
        });
        let (layer, telemetry) = builder.build().unwrap();
        let subscriber =
            tracing_subscriber::registry().with(Traces.with_filter(filter_fn(is_traced)));
        let subscriber = subscriber.with(layer);
        let dispatch = match lean {
            false => Dispatch::new(subscriber),
            true => Dispatch::new(Lean::new(subscriber)),
        };
        let (mut unit, mut inside) = (String::new(), String::new());
        dispatcher::with_default(&dispatch, || {
            let request = info_span!("request");
            unit = id(&request);
            request.in_scope(|| {
                let query = info_span!("query");
                inside = id(&query);
                query.in_scope(|| info!("asked"));
            });
            // Entered again, it is what it was.
            request.in_scope(|| ());
            drop(request);
            info_span!("untraced").in_scope(|| info!("nowhere"));
        });
        telemetry.flush();
        let trace = "00000000000000000000000000000abc";
        let exemplars = written.of("exemplar");
        let of = |unit: &str| exemplars.iter().find(|e| e["unit"] == unit).unwrap();
        assert_eq!(of("request")["trace_id"], trace, "lean: {lean}");
        assert_eq!(of("request")["span_id"], unit.as_str());
        assert_eq!(of("untraced").get("trace_id"), None);
        let events = written.of("event");
        let of = |message: &str| events.iter().find(|e| e["message"] == message).unwrap();
        assert_eq!(of("asked")["trace_id"], trace);
        assert_eq!(of("asked")["span_id"], inside.as_str());
        assert_eq!(of("nowhere").get("span_id"), None);
    }
}

#[test]
fn a_panic_in_what_says_it_ends_nothing() {
    let (builder, written) = written::builder();
    let builder = builder.trace_sample(1.0);
    let (layer, telemetry) = builder.trace_ids(|| panic!("no trace")).build().unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    dispatcher::with_default(&dispatch, || {
        info_span!("request").in_scope(|| info!("well"))
    });
    telemetry.flush();
    assert_eq!(written.of("exemplar").len(), 1);
    assert_eq!(written.of("event").len(), 1);
    assert!(telemetry.ledger().panics >= 1);
}
