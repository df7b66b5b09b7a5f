//! From the entries of a kept unit to its spans and events, as they are written.

use super::Captured;
use crate::callsites::{CallSites, SiteId};
use crate::cost::Metric;
use crate::details::{Entry, Fields, What};
use crate::record::{ExemplarEvent, ExemplarSpan, Level};
use crate::subscriber::CallSite;
use std::collections::BTreeMap;

/// The most spans of an exemplar, and the most events; what is over is left out and told.
const MOST_SPANS: usize = 128;
const MOST_EVENTS: usize = 128;

/// Spans and events, in the order in which they began and happened; `true` if all are there.
pub(crate) fn tree(
    exemplar: &Captured,
    sites: &CallSites,
) -> (Vec<ExemplarSpan>, Vec<ExemplarEvent>, bool) {
    let mut entries: Vec<&Entry> = exemplar.entries.iter().rev().collect();
    // Each thread's are in order; a stable sort keeps them so where the clock stood still.
    entries.sort_by_key(|entry| entry.at);
    let mut tree = Tree {
        sites,
        started: exemplar.started,
        spans: Vec::new(),
        number_of: BTreeMap::new(),
        events: Vec::new(),
        whole: exemplar.whole,
    };
    entries.into_iter().for_each(|entry| tree.add(entry));
    let ended = exemplar.unit.costs.value(Metric::Wall);
    let spans = tree.spans.into_iter().map(|span| span.at_end(ended));
    (spans.collect(), tree.events, tree.whole)
}

/// A span whose entries are being read.
struct Building {
    span: ExemplarSpan,
    /// The sum of its exits less that of its entries, which may be below zero on the way.
    busy: i128,
    /// Entries without an exit so far.
    inside: u64,
}

impl Building {
    fn at_end(self, ended: u64) -> ExemplarSpan {
        let busy = self.busy + i128::from(self.inside) * i128::from(ended);
        ExemplarSpan {
            busy_ns: u64::try_from(busy).unwrap_or(0),
            ..self.span
        }
    }
}

struct Tree<'a> {
    sites: &'a CallSites,
    started: u64,
    spans: Vec<Building>,
    /// From a span's id to its place in `spans`.
    number_of: BTreeMap<u64, usize>,
    events: Vec<ExemplarEvent>,
    whole: bool,
}

impl Tree<'_> {
    fn add(&mut self, entry: &Entry) {
        let at = entry.at.saturating_sub(self.started);
        match &entry.what {
            What::Begin {
                site,
                parent,
                fields,
            } => self.begin(entry.span, *parent, *site, fields),
            What::Enter => {
                if let Some(building) = self.span(entry.span) {
                    building.span.start_ns.get_or_insert(at);
                    building.span.entries += 1;
                    building.busy -= i128::from(at);
                    building.inside += 1;
                }
            }
            What::Exit => {
                let building = self.span(entry.span);
                if let Some(building) = building.filter(|building| building.inside > 0) {
                    building.span.end_ns = Some(at);
                    building.busy += i128::from(at);
                    building.inside -= 1;
                }
            }
            What::Record { site, fields } => {
                let fields = self.fields(*site, fields);
                if let Some(building) = self.span(entry.span) {
                    building.span.fields.extend(fields.others);
                }
            }
            What::Event { site, fields } => self.event(at, entry.span, *site, fields),
        }
    }

    fn begin(&mut self, span: u64, parent: u64, site: SiteId, fields: &[u8]) {
        if self.spans.len() == MOST_SPANS {
            self.whole = false;
            return;
        }
        let call_site = self.sites.get(site);
        let fields = self.fields(site, fields);
        self.number_of.insert(span, self.spans.len());
        let parent = self.number_of.get(&parent).map(|number| *number as u64);
        let name = call_site.map_or("other", CallSite::name);
        let target = call_site.map_or("", CallSite::target);
        let span = ExemplarSpan {
            fields: fields.others,
            ..ExemplarSpan::new(self.spans.len() as u64, parent, name, target)
        };
        self.spans.push(Building {
            span,
            busy: 0,
            inside: 0,
        });
    }

    fn event(&mut self, at: u64, span: u64, site: SiteId, fields: &[u8]) {
        if self.events.len() == MOST_EVENTS {
            self.whole = false;
            return;
        }
        let call_site = self.sites.get(site);
        let fields = self.fields(site, fields);
        self.events.push(ExemplarEvent {
            at_ns: at,
            level: call_site.map_or(Level::Other, CallSite::level),
            target: call_site.map_or("", CallSite::target).to_owned(),
            line: call_site.and_then(CallSite::line),
            span: self.number_of.get(&span).map(|number| *number as u64),
            message: fields.message,
            fields: fields.others,
        });
    }

    fn span(&mut self, id: u64) -> Option<&mut Building> {
        self.spans.get_mut(*self.number_of.get(&id)?)
    }

    fn fields(&self, site: SiteId, bytes: &[u8]) -> Fields {
        let mut fields = Fields::default();
        if let Some(call_site) = self.sites.get(site) {
            fields.read(call_site, bytes);
        }
        fields
    }
}
