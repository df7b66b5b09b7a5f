//! What an incident asks for.

use crate::subscriber::filter::target;
use crate::tool::names;
use alloc_tracker::raw::escaped;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// More detail for a bounded time, within a scope: what [`Telemetry::incident`] starts.
///
/// While it lasts, units within its scope are kept as exemplars (some 50 a second of each kind, for the
/// reason `incident`), their log events pass although their call sites are over their limits, and, if
/// asked for, the heap is profiled. It ends by itself.
///
/// ```
/// use std::time::Duration;
/// use telemetry::Incident;
///
/// let incident = Incident::for_(Duration::from_secs(60))
///     .unit("checkout")
///     .heap(512 * 1024)
///     .why("orders are slow since 14:00");
/// // The same as a text, as it comes from a command line or an address.
/// let same: Incident = "for=60s&unit=checkout&heap=512KiB&why=orders are slow since 14:00".parse()?;
/// assert_eq!(incident, same);
/// # Ok::<(), telemetry::IncidentError>(())
/// ```
///
/// [`Telemetry::incident`]: crate::Telemetry::incident
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an incident begins when it is handed to `Telemetry::incident`"]
pub struct Incident {
    pub(super) ttl: Duration,
    pub(super) scope: Scope,
    pub(super) heap: Option<u64>,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) cpu_share: f64,
    pub(super) max_bytes: u64,
}

/// Which units an incident is about; an empty scope is about all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) unit: Option<String>,
    pub(super) target: Option<String>,
    pub(super) fields: Vec<(String, String)>,
}

impl Scope {
    /// By what is known of a kind of unit; its fields are another matter.
    /// Whether it is about units with these names, that of the kind and that of the span, and this target.
    pub(super) fn has_kind(&self, names: [&str; 2], target: &str) -> bool {
        let is_inside = |module: &str| target::is_inside(target, module);
        let is_in = |asked: &String| {
            let asked = asked.strip_suffix("::").unwrap_or(asked);
            is_inside(asked)
                || target::module_paths(asked)
                    .iter()
                    .any(|path| is_inside(path))
        };
        let is_named = |unit: &String| names.contains(&unit.as_str());
        self.unit.as_ref().is_none_or(is_named) && self.target.as_ref().is_none_or(is_in)
    }

    /// Whether a unit that begins with these fields has those that are asked for, if any are.
    pub(super) fn has_fields(&self, value_of: impl Fn(&str) -> Option<String>) -> bool {
        let has = |(name, value): &(String, String)| {
            let is_it = |name: &str| value_of(name).as_ref() == Some(value);
            is_it(name) || is_it(&without_raw(name))
        };
        !self.fields.is_empty() && self.fields.iter().all(has)
    }

    /// What is asked for that nothing can have, and why.
    pub(super) fn check(&self) -> Result<(), IncidentError> {
        let wrong = |key: &str, value: &str, why: String| IncidentError::Scope {
            key: key.to_owned(),
            value: value.to_owned(),
            why,
        };
        if let Some(unit) = &self.unit {
            names::check(unit).map_err(|why| wrong("unit", unit, why))?;
        }
        if let Some(target) = &self.target {
            target::check(target).map_err(|why| wrong("target", target, why))?;
        }
        for (name, _) in &self.fields {
            let plain = without_raw(name);
            names::check(&plain).map_err(|why| wrong("field", name, why))?;
        }
        Ok(())
    }
}

/// The name that `tracing` gives to a field that is written `r#type = 1`, or `order.r#type = 1`. A name that is
/// written as a text keeps its `r#`, which is why both count.
fn without_raw(name: &str) -> String {
    let parts = name.split('.');
    let parts: Vec<_> = parts.map(|p| p.strip_prefix("r#").unwrap_or(p)).collect();
    parts.join(".")
}

impl Incident {
    /// It lasts so long at most: from then on everything is as before. The longest that is taken
    /// is [`Builder::max_incident`](crate::Builder::max_incident).
    ///
    /// ```
    /// use std::time::Duration;
    /// use telemetry::Incident;
    ///
    /// let incident = Incident::for_(Duration::from_secs(60))
    ///     .unit("checkout")
    ///     .target("shop::api")
    ///     .field("tenant", "acme")
    ///     .who("on call")
    ///     .why("acme's checkouts are slow")
    ///     .max_cpu(0.02)
    ///     .max_bytes(1 << 20);
    /// # let _ = incident;
    /// ```
    pub fn for_(ttl: Duration) -> Self {
        Incident {
            ttl,
            scope: Scope::default(),
            heap: None,
            who: "api".to_owned(),
            why: String::new(),
            cpu_share: 0.05,
            max_bytes: 16 << 20,
        }
    }

    /// Only units of this name. Default: all.
    pub fn unit(mut self, name: impl Into<String>) -> Self {
        self.scope.unit = Some(name.into());
        self
    }

    /// Only units whose span's target is this module, or one inside it; as in a
    /// [`UnitFilter`](crate::UnitFilter), `my-shop` is `my_shop` as well. Default: all.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.scope.target = Some(target.into());
        self
    }

    /// Only units whose span has a field of this name, with a value that is written so, when it begins.
    /// Of several fields, all must agree. `r#type` is `type` as well, as `tracing` names such a field.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.scope.fields.push((name.into(), value.into()));
        self
    }

    /// The name of the only units that it is about.
    pub(crate) fn of_unit(&self) -> Option<&str> {
        self.scope.unit.as_deref()
    }

    /// Profiles the heap meanwhile, with a sample every few bytes at the mean: 512 KiB for a service at
    /// work, 64 KiB for a quiet one; up to 1 TiB. The profiler sees the whole process; its report names
    /// the unit that allocated. Needs the feature `profile`.
    ///
    /// Up to 2,048 samples are live at once, which have some 4 to 13 KiB resident each; when three quarters are,
    /// it samples less often.
    pub fn heap(mut self, mean_bytes: u64) -> Self {
        self.heap = Some(mean_bytes);
        self
    }

    /// Who asks for it, for the record. Default: `api`.
    pub fn who(mut self, who: impl Into<String>) -> Self {
        self.who = who.into();
        self
    }

    /// Why, for the record.
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// The share of one processor that telemetry may take while the incident lasts: samples of the heap,
    /// and what is written. Above it, it samples the heap less often; that is looked at four times a
    /// second. Default: 0.05.
    pub fn max_cpu(mut self, share: f64) -> Self {
        self.cpu_share = share;
        self
    }

    /// Bytes of exemplars that are written for it; from then on no more are kept for its sake. 0: none, for
    /// an incident that only profiles the heap. Default: 16 MiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// What can be told without knowing the process.
    pub(super) fn check_effect(&self) -> Result<(), IncidentError> {
        self.scope.check()?;
        match (self.max_bytes, self.heap) {
            (0, None) => Err(IncidentError::NoBytes),
            _ => Ok(()),
        }
    }

    pub(crate) fn check(&self, longest: Duration) -> Result<(), IncidentError> {
        if self.ttl.is_zero() || self.ttl > longest {
            return Err(IncidentError::Ttl {
                asked: self.ttl,
                longest,
            });
        }
        if !is_cpu_share(self.cpu_share) {
            return Err(IncidentError::Cpu(self.cpu_share));
        }
        self.check_effect()?;
        if let Some(mean) = self.heap {
            super::heap::check(mean).map_err(IncidentError::Heap)?;
        }
        Ok(())
    }
}

/// More than none of a processor, and not more than one.
pub(super) fn is_cpu_share(share: f64) -> bool {
    share > 0.0 && share <= 1.0
}

/// Names an incident, in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub(super) u64);

/// The number that its records have: of a route, say.
impl From<u64> for IncidentId {
    fn from(number: u64) -> Self {
        IncidentId(number)
    }
}

impl From<IncidentId> for u64 {
    fn from(id: IncidentId) -> Self {
        id.0
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an incident did not start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum IncidentError {
    /// It would last no time, or too long.
    Ttl {
        /// What was asked for.
        asked: Duration,
        /// The longest that is taken.
        longest: Duration,
    },
    /// The share of the processor is not above 0 and at most 1.
    Cpu(f64),
    /// It may write nothing, and profiles no heap.
    NoBytes,
    /// No unit can be within its scope.
    Scope {
        /// What is wrong: `unit`, `target` or `field`.
        key: String,
        /// What it was given.
        value: String,
        /// Why nothing can have it.
        why: String,
    },
    /// As many are in progress as may be.
    TooMany(usize),
    /// The heap cannot be profiled, and why.
    Heap(String),
    /// Telemetry has been shut down, or this process was forked from the one that built it.
    NotRunning,
    /// A text is not an incident.
    Parse {
        /// What is wrong.
        key: String,
        /// Its value.
        value: String,
        /// What it should be.
        form: &'static str,
    },
}

impl fmt::Display for IncidentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the incident cannot start: ")?;
        match self {
            IncidentError::Ttl { asked, longest } => write!(
                f,
                "it would last {asked:?}; it must be more than no time and at most {longest:?} (see \
                 Builder::max_incident)"
            ),
            IncidentError::Cpu(share) => {
                write!(f, "max_cpu is {share}; it must be above 0 and at most 1")
            }
            IncidentError::NoBytes => f.write_str(
                "max_bytes is 0, so nothing is kept for it; give it more, or have it profile the heap",
            ),
            IncidentError::Scope { key, value, why } => {
                let message = format!("no {key} can be {value:?}: {why}");
                f.write_str(&escaped(&message))
            }
            IncidentError::TooMany(most) => write!(
                f,
                "{most} are in progress, which is the most; end one, or wait until one ends"
            ),
            IncidentError::Heap(why) => {
                write!(f, "the heap cannot be profiled: {}", escaped(why))
            }
            IncidentError::NotRunning => {
                f.write_str("telemetry was shut down, or built in the process that forked this one")
            }
            IncidentError::Parse { key, value, form } => {
                let message = format!("{key:?} with the value {value:?}: expected {form}");
                f.write_str(&escaped(&message))
            }
        }
    }
}

impl Error for IncidentError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_no_unit_can_be_in_is_refused() {
        for (text, key, mend) in [
            ("for=60s&unit=", "unit", "it is empty"),
            ("for=60s&unit=%20checkout", "unit", "blank"),
            ("for=60s&target=", "target", "it is empty"),
            ("for=60s&target=shop::*", "target", "write shop"),
            ("for=60s&target=crate::cart", "target", "name of its crate"),
            ("for=60s&target=shop,jobs", "target", "commas"),
            ("for=60s&field.%20user=1", "field", "blank"),
            ("for=60s&unit=pay%E2%80%8B", "unit", "U+200B at column 4"),
            ("for=60s&unit=p\u{3164}ay", "unit", "U+3164 at column 2"),
            (
                "for=60s&target=sh\u{3164}op",
                "target",
                "U+3164 at column 3",
            ),
            ("for=60s&field.us\u{ad}er=1", "field", "U+00AD at column 3"),
            ("for=60s&target=all", "target", "write r#all"),
            ("for=60s&target=*", "target", "leave it away"),
            ("for=60s&target=shop::self", "target", "named `self`"),
            ("for=60s&field.r%23=1", "field", "it is empty"),
        ] {
            let error = text.parse::<Incident>().unwrap_err();
            assert!(
                matches!(&error, IncidentError::Scope { key: wrong, .. } if wrong == key),
                "{text}: {error:?}"
            );
            let message = error.to_string();
            assert!(message.contains(mend), "{text}: {message}");
            assert_eq!(escaped(&message), message);
        }
        let built = Incident::for_(Duration::from_secs(1)).unit("");
        assert!(built.check(Duration::MAX).is_err());
    }

    #[test]
    fn an_incident_that_may_write_nothing_is_refused() {
        for text in ["for=60s&max_bytes=0", "for=60s&max_bytes=0 KiB"] {
            assert_eq!(text.parse::<Incident>(), Err(IncidentError::NoBytes));
        }
        let built = Incident::for_(Duration::from_secs(1)).max_bytes(0);
        assert_eq!(built.check(Duration::MAX), Err(IncidentError::NoBytes));
        assert!("for=60s&max_bytes=0&heap=1MiB".parse::<Incident>().is_ok());
    }

    #[test]
    fn a_scope_has_a_target_and_what_is_inside() {
        let scope = Incident::for_(Duration::MAX).target("shop").scope;
        assert!(scope.has_kind(["any"; 2], "shop") && scope.has_kind(["any"; 2], "shop::cart"));
        assert!(!scope.has_kind(["any"; 2], "shopping") && !scope.has_kind(["any"; 2], "other"));
        for (target, inside) in [
            ("shop::", "shop::cart"),
            ("my-shop", "my_shop::cart"),
            ("shop::async", "shop::r#async::v1"),
        ] {
            let scope = Incident::for_(Duration::MAX).target(target).scope;
            assert!(scope.has_kind(["any"; 2], inside), "{target}");
        }
        let scope = Incident::for_(Duration::MAX)
            .unit("pay")
            .target("shop")
            .scope;
        assert!(scope.has_kind(["pay"; 2], "shop") && !scope.has_kind(["buy"; 2], "shop"));
    }
}
