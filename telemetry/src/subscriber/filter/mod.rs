//! Which spans are units, which events are written, and which call sites the layer wants at all.

mod known;
mod parse;
pub(crate) mod target;

pub use known::UnitSpan;
pub use parse::ParseFilterError;

use std::str::FromStr;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Chooses the spans that are units of work: the outermost span that it lets pass is the unit,
/// spans inside it belong to it.
///
/// The default lets every span at INFO or above pass. Beside those, the spans that mean a request, a message or a job in
/// [known libraries](UnitSpan::known) are units whatever their level, unless the filter says something of their
/// target (`info,tower_http=off`) or has no level for all targets. The syntax is that of `tracing-subscriber`'s
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
    /// Those that [`Builder::unit_span`](crate::Builder::unit_span) adds.
    more: Vec<UnitSpan>,
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
            /// Whether its level and target pass.
            fn lets_level_pass(&self, metadata: &Metadata<'_>) -> bool {
                self.targets
                    .would_enable(metadata.target(), metadata.level())
            }

            /// The most verbose level that may pass by its target.
            fn max_level_of_targets(&self) -> LevelFilter {
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

        impl From<LevelFilter> for $name {
            fn from(level: LevelFilter) -> Self {
                Targets::new().with_default(level).into()
            }
        }
    };
}

filter!(UnitFilter);
filter!(EventFilter);

impl From<Targets> for UnitFilter {
    fn from(targets: Targets) -> Self {
        UnitFilter {
            targets,
            more: Vec::new(),
        }
    }
}

impl From<Targets> for EventFilter {
    fn from(targets: Targets) -> Self {
        EventFilter { targets }
    }
}

impl EventFilter {
    pub(crate) fn lets_pass(&self, metadata: &Metadata<'_>) -> bool {
        self.lets_level_pass(metadata)
    }

    fn max_level(&self) -> LevelFilter {
        self.max_level_of_targets()
    }
}

impl UnitFilter {
    /// With further spans that are units.
    pub(crate) fn with_spans(mut self, more: Vec<UnitSpan>) -> Self {
        self.more = more;
        self
    }

    pub(crate) fn lets_pass(&self, metadata: &Metadata<'_>) -> bool {
        self.lets_level_pass(metadata) || self.means_a_unit(metadata)
    }

    /// Whether it is one of those that are units whatever their level, also inside of another unit.
    pub(crate) fn means_a_unit(&self, metadata: &Metadata<'_>) -> bool {
        let is_it = |span: &UnitSpan| span.is(metadata);
        if self.more.iter().any(is_it) {
            return true;
        }
        self.knows_libraries()
            && UnitSpan::known().iter().any(is_it)
            && !self.names_target_of(metadata)
    }

    /// A filter without a level for all targets is a list of those that it wants.
    fn knows_libraries(&self) -> bool {
        let for_all = self.targets.default_level();
        for_all.is_some_and(|level| level != LevelFilter::OFF)
    }

    /// Whether it says something of this target, other than of all.
    pub(crate) fn names_target_of(&self, metadata: &Metadata<'_>) -> bool {
        let mut directives = self.targets.iter();
        directives.any(|(target, _)| metadata.target().starts_with(target))
    }

    /// Whether none can pass.
    pub(crate) fn is_off(&self) -> bool {
        self.max_level() == LevelFilter::OFF
    }

    fn max_level(&self) -> LevelFilter {
        match self.knows_libraries() || !self.more.is_empty() {
            true => LevelFilter::TRACE,
            false => self.max_level_of_targets(),
        }
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
