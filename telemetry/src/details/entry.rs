//! What the rings hold: one entry for each thing that a span of a unit did.

use super::DetailRing;
use crate::callsites::SiteId;
use crate::live::UnitRef;

/// Something that happened in a unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The instance's clock. Of a span that begins inside a unit, when its thread last looked.
    pub(crate) at: u64,
    pub(crate) unit: UnitRef,
    /// The span that did it; of an event, the one that it happened in.
    pub(crate) span: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A span was made, inside `parent` (0: none of ours).
    Begin {
        site: SiteId,
        parent: u64,
        fields: Vec<u8>,
    },
    Enter,
    Exit,
    /// Fields were recorded later.
    Record {
        site: SiteId,
        fields: Vec<u8>,
    },
    Event {
        site: SiteId,
        fields: Vec<u8>,
    },
}

/// The most entries of one unit that are copied.
const MOST_ENTRIES: usize = 2048;

const BEGIN: u64 = 1;
const ENTER: u64 = 2;
const EXIT: u64 = 3;
const RECORD: u64 = 4;
const EVENT: u64 = 5;
const SITE_SHIFT: u32 = 8;
const BYTES_SHIFT: u32 = 32;

/// The first word: what it is, its call site, and how many bytes of fields there are.
fn first(what: u64, site: SiteId, fields: &[u8]) -> u64 {
    what | (site.index() as u64) << SITE_SHIFT | (fields.len() as u64) << BYTES_SHIFT
}

impl DetailRing {
    #[inline]
    pub(crate) fn begin(
        &self,
        at: u64,
        unit: UnitRef,
        (span, parent): (u64, u64),
        site: SiteId,
        fields: &[u8],
    ) {
        self.push(
            &[first(BEGIN, site, fields), at, unit.0, span, parent],
            fields,
        );
    }

    #[inline]
    pub(crate) fn enter(&self, at: u64, unit: UnitRef, span: u64) {
        self.push_words(&[ENTER, at, unit.0, span]);
    }

    #[inline]
    pub(crate) fn exit(&self, at: u64, unit: UnitRef, span: u64) {
        self.push_words(&[EXIT, at, unit.0, span]);
    }

    pub(crate) fn record(&self, at: u64, unit: UnitRef, span: u64, site: SiteId, fields: &[u8]) {
        self.push(&[first(RECORD, site, fields), at, unit.0, span], fields);
    }

    #[inline]
    pub(crate) fn event(&self, at: u64, unit: UnitRef, span: u64, site: SiteId, fields: &[u8]) {
        self.push(&[first(EVENT, site, fields), at, unit.0, span], fields);
    }

    /// Adds a unit's entries since it `started`, the newest first, at most [`MOST_ENTRIES`]. False
    /// if there may have been more.
    pub(crate) fn entries_of(&self, unit: UnitRef, started: u64, entries: &mut Vec<Entry>) -> bool {
        let mut room = true;
        let whole = self.read(|record| match *record {
            [_, at, ..] if at < started => false,
            [_, _, of, ..] if of != unit.0 => true,
            _ => {
                room = entries.len() < MOST_ENTRIES;
                if room {
                    entries.extend(Entry::read(record));
                }
                room
            }
        });
        whole && room
    }
}

impl Entry {
    /// The fields that came with it, as bytes.
    pub(crate) fn fields(&self) -> &[u8] {
        match &self.what {
            What::Begin { fields, .. }
            | What::Record { fields, .. }
            | What::Event { fields, .. } => fields,
            What::Enter | What::Exit => &[],
        }
    }

    fn read(record: &[u64]) -> Option<Entry> {
        let [first, at, unit, span, rest @ ..] = record else {
            return None;
        };
        let site = SiteId::from_index(first >> SITE_SHIFT & 0xFFFF);
        let fields = |words: &[u64]| {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            bytes.take((first >> BYTES_SHIFT) as usize).collect()
        };
        let what = match (first & 0xFF, rest) {
            (BEGIN, [parent, rest @ ..]) => What::Begin {
                site,
                parent: *parent,
                fields: fields(rest),
            },
            (ENTER, _) => What::Enter,
            (EXIT, _) => What::Exit,
            (RECORD, rest) => What::Record {
                site,
                fields: fields(rest),
            },
            (EVENT, rest) => What::Event {
                site,
                fields: fields(rest),
            },
            _ => return None,
        };
        Some(Entry {
            at: *at,
            unit: UnitRef(*unit),
            span: *span,
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_entries_come_back_and_those_of_others_do_not() {
        let ring = DetailRing::new(1024);
        let (mine, other) = (UnitRef(7), UnitRef(8));
        let site = SiteId::from_index(300);
        ring.begin(9, mine, (1, 0), site, b"before it started");
        ring.begin(10, mine, (1, 0), site, b"eleven byte");
        ring.enter(11, mine, 1);
        ring.enter(12, other, 2);
        ring.event(13, mine, 1, SiteId::OTHER, b"");
        ring.record(14, mine, 1, site, b"12345678");
        ring.exit(15, mine, 1);
        let mut entries = Vec::new();
        assert!(ring.entries_of(mine, 10, &mut entries));
        entries.reverse();
        let expected = [
            (
                10,
                What::Begin {
                    site,
                    parent: 0,
                    fields: b"eleven byte".to_vec(),
                },
            ),
            (11, What::Enter),
            (
                13,
                What::Event {
                    site: SiteId::OTHER,
                    fields: vec![],
                },
            ),
            (
                14,
                What::Record {
                    site,
                    fields: b"12345678".to_vec(),
                },
            ),
            (15, What::Exit),
        ];
        let expected = expected.map(|(at, what)| Entry {
            at,
            unit: mine,
            span: 1,
            what,
        });
        assert_eq!(entries, expected);
        let mut full = vec![entries[0].clone(); MOST_ENTRIES];
        assert!(!ring.entries_of(mine, 10, &mut full));
        assert_eq!(full.len(), MOST_ENTRIES);
    }
}
