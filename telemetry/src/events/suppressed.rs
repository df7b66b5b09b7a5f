//! Exact counts of the events that were not written, from what each thread counted by itself.

use super::Events;
use crate::callsites::{CallSites, SiteId};
use crate::outbox::Outbox;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What one call site kept back since the last report. Times are those of the clock of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SuppressedSite {
    pub(crate) site: SiteId,
    pub(crate) count: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Events {
    /// A report reached nobody: the next one has it again.
    pub(crate) fn take_back(&self, report: &SuppressedSite) {
        let of_site = &self.sites[report.site.index()];
        of_site.reported.fetch_sub(report.count, Relaxed);
        // Before what came since, if something did.
        of_site.first.store(report.first, Relaxed);
    }

    /// How many events were kept back by a limit, since the start.
    pub(crate) fn rate_limited(&self, sites: &CallSites, outboxes: &[Arc<Outbox>]) -> u64 {
        let retired = self
            .known(sites)
            .map(|(_, of_site)| of_site.retired.load(Relaxed));
        let in_outboxes = outboxes.iter().flat_map(|outbox| outbox.all_suppressed());
        retired.sum::<u64>()
            + in_outboxes
                .map(|(_, suppressed)| suppressed.read().0)
                .sum::<u64>()
            + self.rate_limited_by_output.load(Relaxed)
    }

    /// The thread of an outbox ends: its counts are kept.
    pub(crate) fn retire_outbox(&self, outbox: &Outbox) {
        for (site, suppressed) in outbox.all_suppressed() {
            if let (count @ 1.., last) = suppressed.read() {
                self.retire(site, count, last);
            }
        }
    }

    /// What was kept back since this was last called, the call sites with the most first, `most` of
    /// them; the others are reported the next time. Called by the background thread.
    pub(crate) fn take_suppressed(
        &self,
        sites: &CallSites,
        outboxes: &[Arc<Outbox>],
        most: usize,
    ) -> Vec<SuppressedSite> {
        let news = self.known(sites).filter_map(|(site, of_site)| {
            let (in_outboxes, last_in_outboxes) = in_outboxes(outboxes, site);
            let so_far = of_site.retired.load(Relaxed) + of_site.later.load(Relaxed) + in_outboxes;
            let count = so_far.checked_sub(of_site.reported.load(Relaxed))?;
            let last = of_site.last.load(Relaxed).max(last_in_outboxes);
            (count > 0).then_some(SuppressedSite {
                site,
                count,
                first: last,
                last,
            })
        });
        let mut news: Vec<_> = news.collect();
        news.sort_by_key(|site| std::cmp::Reverse(site.count));
        news.truncate(most);
        for report in &mut news {
            let of_site = &self.sites[report.site.index()];
            of_site.reported.fetch_add(report.count, Relaxed);
            // A thread notes the first time before it counts: it may have noted one just now whose
            // count is in the next report, which then has its last time for its first.
            let first = of_site.first.swap(0, Relaxed);
            report.first = if first == 0 {
                report.last
            } else {
                first.min(report.last)
            };
        }
        news
    }
}

/// How many events of a call site the threads kept back, and when the last one was.
fn in_outboxes(outboxes: &[Arc<Outbox>], site: SiteId) -> (u64, u64) {
    let of_threads = outboxes
        .iter()
        .filter_map(|outbox| Some(outbox.suppressed(site)?.read()));
    of_threads.fold((0, 0), |(all, latest), (count, last)| {
        (all + count, latest.max(last))
    })
}
