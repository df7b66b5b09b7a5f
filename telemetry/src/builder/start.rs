//! The configuration is checked, and everything starts.

use super::resource::{self, label};
use super::{BuildError, Builder};
use crate::effect;
use crate::events::Events;
use crate::exemplars::HeadSample;
use crate::exit;
use crate::export::Exporter;
use crate::incidents::Watch;
use crate::instance::{Instance, Setup};
use crate::os::Sampling;
use crate::output::{self, OutputLimit};
use crate::subscriber::TelemetryLayer;
use crate::subscriber::filter::{Interest, UnitSpan, target};
use crate::telemetry::Telemetry;
use crate::thread;
use crate::tool::clock::Clock;
use crate::tool::names;
use crate::tool::rate::Rate;
use std::sync::Arc;

impl Builder {
    pub(super) fn start(&mut self) -> Result<(TelemetryLayer, Telemetry), BuildError> {
        if let Some(service) = &self.service {
            label(service).map_err(BuildError::Service)?;
        }
        for (name, value) in &self.attributes {
            let checked = label(name).map_err(|why| format!("its name: {why}"));
            let checked =
                checked.and_then(|()| label(value).map_err(|why| format!("its value: {why}")));
            checked.map_err(|why| BuildError::Resource {
                name: name.clone(),
                why,
            })?;
        }
        let exporters = names_of(&self.exporters)?;
        let mut unit_spans = Vec::new();
        for (target, name) in self.unit_spans.drain(..) {
            let checked = target::check(&target).map_err(|why| format!("the target: {why}"));
            let named = names::check(&name).map_err(|why| format!("the name: {why}"));
            match checked.and(named) {
                Ok(()) => unit_spans.push(UnitSpan::new(target, name)),
                Err(why) => return Err(BuildError::UnitSpan { target, name, why }),
            }
        }
        let units = self.units.clone().map_err(BuildError::Units)?;
        let units = units.with_spans(unit_spans);
        for name in &self.kind_by {
            names::check(name).map_err(|why| BuildError::KindBy {
                name: name.clone(),
                why,
            })?;
        }
        if self.flush_every.is_zero() {
            return Err(BuildError::FlushEvery);
        }
        for (name, value, most) in [
            ("max_kinds", self.bounds.kinds, 1 << 20),
            ("max_spans_in_progress", self.bounds.spans, 1 << 28),
            ("max_units_in_progress", self.bounds.units, 1 << 20),
        ] {
            if value == 0 || value > most {
                return Err(BuildError::Bound { name, value, most });
            }
        }
        let detail = self.bounds.detail;
        if detail != 0 && !(detail.is_power_of_two() && (1 << 12..=1 << 30).contains(&detail)) {
            return Err(BuildError::Detail(detail));
        }
        let OutputLimit {
            records_per_second,
            bytes_per_second,
        } = self.output;
        for (name, rate, burst) in [
            ("event_rate", self.event_rate.0, self.event_rate.1),
            ("error_rate", self.error_rate.0, self.error_rate.1),
            ("max_output, records", records_per_second, 1),
            ("max_output, bytes", bytes_per_second, 1),
        ] {
            Rate::new(rate, burst).ok_or(BuildError::Rate { name, rate, burst })?;
        }
        let rate = |(per_second, burst)| Rate::new(per_second, burst);
        let (Some(event_rate), Some(error_rate)) = (rate(self.event_rate), rate(self.error_rate))
        else {
            unreachable!("checked above");
        };
        let probability = |name, value| BuildError::Probability { name, value };
        let sampling = Sampling::new(self.system_sample)
            .ok_or_else(|| probability("system_sample", self.system_sample))?;
        let head_sample = HeadSample::new(self.trace_sample)
            .ok_or_else(|| probability("trace_sample", self.trace_sample))?;
        #[cfg(all(feature = "signal", target_os = "linux"))]
        let by_signal = self.signals.iter().map(|(_, incident)| incident);
        #[cfg(not(all(feature = "signal", target_os = "linux")))]
        let by_signal = [].iter();
        let by_trigger = self.triggers.iter().map(|(_, incident)| incident);
        let incidents = by_trigger.chain(by_signal);
        for incident in incidents.clone() {
            let longest = self.incidents.longest;
            incident.check(longest).map_err(BuildError::Incident)?;
        }
        let triggers = self.triggers.iter().map(|(trigger, _)| trigger);
        let watched = effect::check(&units, &self.budgets, sampling, triggers, incidents);
        let watched = watched.map_err(BuildError::NoEffect)?;
        let triggers = self.triggers.iter().cloned();
        let watches = triggers.map(|(trigger, incident)| Watch::new(trigger, incident));
        let has_exporters = !exporters.is_empty();
        let events = self.events.clone().map_err(BuildError::Events)?;
        #[cfg(any(debug_assertions, feature = "settable-clock"))]
        let clock = self.clock.as_ref().map_or_else(Clock::new, Clock::set_by);
        #[cfg(not(any(debug_assertions, feature = "settable-clock")))]
        let clock = Clock::new();
        let (resource, untold) = resource::complete(
            // Copies: what the program made is the program's.
            self.service.clone(),
            self.attributes.clone(),
            |name| std::env::var(name).ok(),
            self.calendar.now(),
        );
        let interest = Interest::new(units.clone(), has_exporters.then_some(events));
        let instance = Arc::new(Instance::new(Setup {
            resource,
            calendar: self.calendar.clone(),
            units,
            budgets: self.budgets.clone(),
            kind_by: std::mem::take(&mut self.kind_by),
            trace: self.trace.clone(),
            watched,
            events: Events::new(interest.clone(), event_rate, error_rate, &clock),
            clock,
            sampling,
            head_sample,
            exporters,
            bounds: self.bounds,
            incidents: self.incidents.clone(),
            own_outbox: thread::outbox,
        }));
        let thread = output::Setup {
            exporters: self.exporters.drain(..).collect(),
            flush_every: self.flush_every,
            output: self.output,
            watches: watches.collect(),
            untold,
        };
        output::start(&instance, thread).map_err(BuildError::Thread)?;
        // From here on an error ends the thread again.
        let telemetry = Telemetry::new(Arc::clone(&instance));
        exit::at_exit(&instance);
        #[cfg(all(feature = "signal", target_os = "linux"))]
        for (signal, incident) in self.signals.iter().cloned() {
            crate::incidents::signal::listen(&instance, signal, incident)
                .map_err(|source| BuildError::Signal { signal, source })?;
        }
        #[cfg(all(feature = "signal", target_os = "linux"))]
        if self.flush_on_termination {
            crate::exit::signals::listen(&instance.background)
                .map_err(|(signal, source)| BuildError::Signal { signal, source })?;
        }
        let layer = TelemetryLayer::new(instance, interest);
        Ok((layer, telemetry))
    }
}

/// Names that tell the exporters apart.
fn names_of(exporters: &[Box<dyn Exporter>]) -> Result<Vec<String>, BuildError> {
    let mut names: Vec<String> = Vec::new();
    for exporter in exporters {
        let name = exporter.name();
        label(name).map_err(BuildError::Exporter)?;
        let numbers = (2..).map(|number| format!("{name} {number}"));
        let mut candidates = std::iter::once(name.to_owned()).chain(numbers);
        names.extend(candidates.find(|candidate| !names.contains(candidate)));
    }
    Ok(names)
}
