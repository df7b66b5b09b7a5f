//! Which spans are units, and which call sites the layer wants at all.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::str::FromStr;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Chooses the spans that are units of work: the outermost span that it lets pass is the unit,
/// spans inside it belong to it.
///
/// The default lets every span at INFO or above pass. The syntax is a list of `target=level`,
/// parted by commas; a target alone means all its levels, a level alone all targets.
///
/// ```
/// use telemetry::UnitFilter;
///
/// let filter: UnitFilter = "shop::http=info,shop::jobs=debug".parse()?;
/// let error = "shop=loud".parse::<UnitFilter>().unwrap_err();
/// assert!(error.to_string().contains("shop=loud"));
/// # Ok::<(), telemetry::ParseUnitFilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnitFilter {
    targets: Targets,
}

impl Default for UnitFilter {
    fn default() -> Self {
        UnitFilter {
            targets: Targets::new().with_default(LevelFilter::INFO),
        }
    }
}

impl UnitFilter {
    pub(crate) fn lets_pass(&self, metadata: &Metadata<'_>) -> bool {
        self.targets
            .would_enable(metadata.target(), metadata.level())
    }
}

impl FromStr for UnitFilter {
    type Err = ParseUnitFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(ParseUnitFilterError::new(text, text, "it is empty"));
        }
        for part in text.split(',') {
            if let Err(error) = part.trim().parse::<Targets>() {
                return Err(ParseUnitFilterError::new(text, part.trim(), error));
            }
            if part.trim().is_empty() || part.contains(['[', ']', '{', '}']) {
                let why = "a part is `target=level`, `target` or `level`";
                return Err(ParseUnitFilterError::new(text, part.trim(), why));
            }
        }
        match text.parse() {
            Ok(targets) => Ok(UnitFilter { targets }),
            Err(error) => Err(ParseUnitFilterError::new(text, text, error)),
        }
    }
}

impl TryFrom<&str> for UnitFilter {
    type Error = ParseUnitFilterError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for UnitFilter {
    type Error = ParseUnitFilterError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Targets> for UnitFilter {
    fn from(targets: Targets) -> Self {
        UnitFilter { targets }
    }
}

impl From<LevelFilter> for UnitFilter {
    fn from(level: LevelFilter) -> Self {
        UnitFilter {
            targets: Targets::new().with_default(level),
        }
    }
}

/// A unit filter that does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseUnitFilterError {
    filter: String,
    part: String,
    why: String,
}

impl ParseUnitFilterError {
    fn new(filter: &str, part: &str, why: impl fmt::Display) -> Self {
        ParseUnitFilterError {
            filter: filter.to_owned(),
            part: part.to_owned(),
            why: why.to_string(),
        }
    }

    /// The part of the filter that is wrong.
    pub fn part(&self) -> &str {
        &self.part
    }
}

impl fmt::Display for ParseUnitFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseUnitFilterError { filter, part, why } = self;
        write!(
            f,
            "the unit filter {filter:?} does not parse at {part:?}: {why}; \
             write for example \"shop::http=info,shop::jobs=debug\""
        )
    }
}

impl Error for ParseUnitFilterError {}

impl From<Infallible> for ParseUnitFilterError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The call sites that the layer wants: spans that may be units or belong to one, and ERROR events.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    units: UnitFilter,
}

impl Interest {
    pub(crate) fn new(units: UnitFilter) -> Self {
        Interest { units }
    }

    pub(crate) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            // Spans below INFO belong to no unit's tree unless they can be units: what they cost
            // is counted by the span around them.
            *metadata.level() <= Level::INFO || self.units.lets_pass(metadata)
        } else {
            *metadata.level() == Level::ERROR
        }
    }

    pub(crate) fn max_level(&self) -> LevelFilter {
        let units = self.units.targets.iter().map(|(_, level)| level).max();
        let default = self.units.targets.default_level();
        LevelFilter::INFO
            .max(default.unwrap_or(LevelFilter::OFF))
            .max(units.unwrap_or(LevelFilter::OFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_filters_name_the_part_that_is_wrong() {
        for (text, part) in [
            ("", ""),
            ("a=info,b=loud", "b=loud"),
            ("a=info,,b", ""),
            ("a[span]=info", "a[span]=info"),
        ] {
            let error = text.parse::<UnitFilter>().unwrap_err();
            assert_eq!(error.part(), part, "{text:?}");
            assert!(error.to_string().contains("shop::http=info"));
        }
        assert!("info".parse::<UnitFilter>().is_ok());
        assert!("shop, jobs=trace".parse::<UnitFilter>().is_ok());
    }
}
