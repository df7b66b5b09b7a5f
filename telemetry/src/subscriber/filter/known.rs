//! The spans that mean a request, a message or a job in the libraries that people have.

use std::borrow::Cow;
use tracing::Metadata;

/// Spans of this name, of this module or one inside it, are units whatever their level.
///
/// ```
/// use telemetry::UnitSpan;
///
/// for UnitSpan { library, target, name, .. } in UnitSpan::known() {
///     println!("{library}: {name} of {target}");
/// }
/// assert!(UnitSpan::known().iter().any(|span| span.library == "tower-http"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitSpan {
    /// The library that makes them; empty for one that [the builder](crate::Builder::unit_span) names.
    pub library: Cow<'static, str>,
    /// The beginning of the span's target.
    pub target: Cow<'static, str>,
    /// The span's name.
    pub name: Cow<'static, str>,
}

const fn known(library: &'static str, target: &'static str, name: &'static str) -> UnitSpan {
    UnitSpan {
        library: Cow::Borrowed(library),
        target: Cow::Borrowed(target),
        name: Cow::Borrowed(name),
    }
}

/// `docs/units.md` has the same.
static KNOWN: [UnitSpan; 16] = [
    known("tower-http", "tower_http::trace", "request"),
    known("tower-otel", "tower_otel::trace", "HTTP"),
    known("tower-otel", "tower_otel::trace", "GRPC"),
    known(
        "axum-tracing-opentelemetry",
        "otel::tracing",
        "HTTP request",
    ),
    known(
        "tonic-tracing-opentelemetry",
        "otel::tracing",
        "GRPC request",
    ),
    known("axum-otel", "axum_otel", "request"),
    known("tracing-actix-web", "tracing_actix_web", "HTTP request"),
    known("poem", "poem::middleware", "request"),
    known("warp", "warp::filters::trace", "request"),
    known("salvo", "salvo_extra::logging", "Request"),
    known("tarpc", "tarpc::server", "RPC"),
    known("lambda_runtime", "lambda_runtime", "Lambda runtime invoke"),
    known(
        "lambda_runtime",
        "lambda_runtime",
        "Lambda function invocation",
    ),
    known("apalis", "apalis", "task"),
    known("apalis", "apalis", "job"),
    known("apalis", "apalis_core", "task"),
];

impl UnitSpan {
    /// Those of libraries.
    pub fn known() -> &'static [UnitSpan] {
        &KNOWN
    }

    /// One of the program's own.
    pub(crate) fn new(target: String, name: String) -> Self {
        UnitSpan {
            library: Cow::Borrowed(""),
            target: target.into(),
            name: name.into(),
        }
    }

    pub(super) fn is(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == self.name && super::target::is_inside(metadata.target(), &self.target)
    }
}
