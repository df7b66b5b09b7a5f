//! Which spans are units, which events are written, and which call sites the layer wants at all.

mod parse;
pub(crate) mod target;

pub use parse::ParseFilterError;

use std::str::FromStr;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Chooses the spans that are units of work: the outermost span that it lets pass is the unit,
/// spans inside it belong to it.
///
/// The default lets every span at INFO or above pass. The syntax is that of `tracing-subscriber`'s
/// `EnvFilter` without spans and fields: a list of `target=level`, parted by commas; a target alone
/// means all its levels, a level alone all targets. A target is a module with what is inside it, by
/// the beginning of the name; the longest that fits counts. Blanks around a part are no part of it.
///
/// What is no name of a module as it is written counts as the one that is meant, too: `my-shop`
/// is `my_shop` as well, and `shop.http` is `shop::http`. What no target could match is an error that
/// says where it is and what to write; if a target really looks like that, give the filter as
/// [`Targets`].
///
/// ```
/// use telemetry::UnitFilter;
///
/// let filter: UnitFilter = "shop::http=info,shop::jobs=debug".parse()?;
/// let error = "info, shop::*=debug".parse::<UnitFilter>().unwrap_err();
/// assert_eq!((error.column(), error.part()), (7, "shop::*=debug"));
/// # Ok::<(), telemetry::ParseFilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnitFilter {
    targets: Targets,
}

/// Chooses the events that are written, as far as their limits allow.
///
/// The default lets every event at INFO or above pass. The syntax is that of [`UnitFilter`];
/// `off` alone lets none pass.
///
/// ```
/// use telemetry::EventFilter;
///
/// let filter: EventFilter = "warn,shop::orders=debug,hyper=off".parse()?;
/// # Ok::<(), telemetry::ParseFilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventFilter {
    targets: Targets,
}

/// What both kinds of filter have in common.
macro_rules! filter {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                LevelFilter::INFO.into()
            }
        }

        impl $name {
            pub(crate) fn lets_pass(&self, metadata: &Metadata<'_>) -> bool {
                self.targets
                    .would_enable(metadata.target(), metadata.level())
            }

            /// The most verbose level that may pass.
            fn max_level(&self) -> LevelFilter {
                let levels = self.targets.iter().map(|(_, level)| level);
                let default = self.targets.default_level();
                levels.chain(default).max().unwrap_or(LevelFilter::OFF)
            }
        }

        impl FromStr for $name {
            type Err = ParseFilterError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse::parse(text).map(Self::from)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = ParseFilterError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseFilterError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<Targets> for $name {
            fn from(targets: Targets) -> Self {
                $name { targets }
            }
        }

        impl From<LevelFilter> for $name {
            fn from(level: LevelFilter) -> Self {
                Targets::new().with_default(level).into()
            }
        }
    };
}

filter!(UnitFilter);
filter!(EventFilter);

impl UnitFilter {
    /// Whether none can pass.
    pub(crate) fn is_off(&self) -> bool {
        self.max_level() == LevelFilter::OFF
    }
}

/// The call sites that the layer wants: spans that may be units or belong to one, ERROR events, and
/// those that are written.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    units: UnitFilter,
    /// `None` if no event is written.
    events: Option<EventFilter>,
}

impl Interest {
    pub(crate) fn new(units: UnitFilter, events: Option<EventFilter>) -> Self {
        Interest { units, events }
    }

    #[inline]
    pub(crate) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            // Spans below INFO belong to no unit's tree unless they can be units: what they cost
            // is counted by the span around them.
            *metadata.level() <= Level::INFO || self.units.lets_pass(metadata)
        } else {
            *metadata.level() == Level::ERROR || self.writes(metadata)
        }
    }

    pub(crate) fn writes_events(&self) -> bool {
        self.events.is_some()
    }

    /// Whether an event is one of those that are written.
    pub(crate) fn writes(&self, metadata: &Metadata<'_>) -> bool {
        let events = self.events.as_ref();
        events.is_some_and(|events| events.lets_pass(metadata))
    }

    pub(crate) fn max_level(&self) -> LevelFilter {
        let events = self.events.as_ref().map(EventFilter::max_level);
        LevelFilter::INFO
            .max(self.units.max_level())
            .max(events.unwrap_or(LevelFilter::OFF))
    }
}

#[cfg(test)]
mod tests;
