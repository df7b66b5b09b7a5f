//! One kind of unit.

use super::class::Class;
use crate::budgets::{Budgets, Limit};
use crate::cost::KindId;
use crate::exemplars::Chooser;
use crate::subscriber::CallSite;
use alloc_tracker::raw::UnitName;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// What is known of a kind, without its histograms.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    what: OnceLock<What>,
    /// What heap profiles call its units.
    unit_name: OnceLock<UnitName>,
    /// Its budget.
    limits: OnceLock<Box<[Limit]>>,
    /// Which of its units are kept.
    pub(crate) chooser: Chooser,
    /// Units begun less units ended by threads that have no ring, or none any more.
    elsewhere: AtomicI64,
    in_flight_max: AtomicU64,
}

/// Which units are of a kind.
#[derive(Debug)]
struct What {
    site: CallSite,
    class: Option<Class>,
    /// The span's name, and the class after it.
    name: Box<str>,
}

impl What {
    fn new(site: CallSite, class: Option<Class>) -> Self {
        let name = match &class {
            Some(class) => {
                let class = String::from_utf8_lossy(class.as_bytes());
                format!("{} {class}", site.name()).into()
            }
            None => site.name().into(),
        };
        What { site, class, name }
    }

    #[inline]
    fn is(&self, site: CallSite, class: Option<&Class>) -> bool {
        self.class.as_ref().map(Class::as_bytes) == class.map(Class::as_bytes)
            // PERF: mostly it is the same call site.
            && (self.site.address() == site.address()
                || (self.site.name(), self.site.target()) == (site.name(), site.target()))
    }
}

impl Kind {
    pub(super) fn numbered(number: usize) -> Self {
        let kind = Kind::default();
        if number == KindId::OTHER.0 as usize {
            let _ = kind.unit_name.set(UnitName::of("other"));
        }
        kind
    }

    /// From here on it is that of these units. Once: others may read it already.
    pub(super) fn begin(&self, site: CallSite, class: Option<Class>, budgets: &Budgets) {
        alloc_tracker::raw::for_a_tool(|| {
            let _ = self.what.set(What::new(site, class));
            let limits = budgets.of(&[&self.label(), self.name(), self.span_name()]);
            let _ = self.limits.set(limits.into());
        });
        let _ = self.unit_name.set(UnitName::of(self.name()));
    }

    /// The name of its units: that of the span, and the class after it, if there is one.
    pub(crate) fn name(&self) -> &str {
        self.what.get().map_or("other", |what| &what.name)
    }

    /// What all classes of it have in common.
    pub(crate) fn span_name(&self) -> &'static str {
        self.what.get().map_or("other", |what| what.site.name())
    }

    pub(crate) fn class(&self) -> Option<&str> {
        let what = self.what.get().filter(|what| what.class.is_some())?;
        what.name.get(what.site.name().len() + 1..)
    }

    pub(super) fn class_of_units(&self) -> Option<&Class> {
        self.what.get()?.class.as_ref()
    }

    pub(crate) fn target(&self) -> &'static str {
        self.what.get().map_or("", |what| what.site.target())
    }

    /// The name with the target, as tables have it where several kinds have the name.
    fn label(&self) -> String {
        format!("{} ({})", self.name(), self.target())
    }

    /// Whether somebody who says this name means its units, among others maybe.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name() == name
            || self.span_name() == name
            || (name.ends_with(')') && self.label() == name)
    }

    pub(super) fn is_of(&self, call_site: CallSite, class: Option<&Class>) -> bool {
        self.what
            .get()
            .is_some_and(|what| what.is(call_site, class))
    }

    /// Whether it is a kind of its own, not `other`.
    pub(crate) fn is_known(&self) -> bool {
        self.what.get().is_some()
    }

    /// What heap profiles call its units.
    #[inline]
    pub(crate) fn unit_name(&self) -> UnitName {
        self.unit_name.get().copied().unwrap_or_default()
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        self.limits.get().map_or(&[], |limits| limits)
    }

    pub(crate) fn add_elsewhere(&self, units: i64) {
        self.elsewhere.fetch_add(units, Relaxed);
    }

    /// Units in progress: now, and at most so far. `in_rings` is the sum over all threads.
    pub(crate) fn in_flight(&self, in_rings: i64) -> (u64, u64) {
        let now = self.elsewhere.load(Relaxed) + in_rings;
        // The threads are read one after the other: a unit that ended here and began there
        // meanwhile may be missing on both sides.
        let now = now.max(0) as u64;
        let before = self.in_flight_max.fetch_max(now, Relaxed);
        (now, before.max(now))
    }
}
