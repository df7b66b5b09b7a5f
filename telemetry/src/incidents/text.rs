//! An incident as a text, as it comes from a command line or an address.

use super::spec::{Incident, IncidentError, is_cpu_share};
use crate::cost::Measure;
use std::str::FromStr;
use std::time::Duration;

/// As in the query of an address, `%20` and the like included: `for=60s&unit=checkout&heap=512KiB`, with `target`, `field.NAME`,
/// `who`, `why`, `max_cpu` and `max_bytes` as further keys. `for` is mandatory. In what names a unit, a
/// target or a field, `+` is refused: some mean a blank by it, which is `%20`; `%2B` is the character.
impl FromStr for Incident {
    type Err = IncidentError;

    fn from_str(text: &str) -> Result<Self, IncidentError> {
        let wrong = |key: &str, value: &str, form: &'static str| IncidentError::Parse {
            key: key.to_owned(),
            value: value.to_owned(),
            form,
        };
        let mut ttl = None;
        let mut seen = Vec::new();
        let mut incident = Incident::for_(Duration::ZERO);
        let text = text.trim().trim_start_matches('?');
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| wrong(pair, "", "KEY=VALUE"))?;
            let form = "text, in which %20 stands for a blank, %26 for &, %25 for %";
            let whole_key = decoded(key).ok_or_else(|| wrong(key, value, form))?;
            let key = whole_key.as_str();
            if value.contains('+') && !matches!(key, "who" | "why") {
                let form = "text without `+`: %20 stands for a blank, %2B for +";
                return Err(wrong(key, value, form));
            }
            let value = &decoded(value).ok_or_else(|| wrong(key, value, form))?;
            if seen.iter().any(|seen| seen == key) {
                return Err(wrong(key, value, "each key once"));
            }
            seen.push(key.to_owned());
            let bytes = || {
                let plain = value.parse().ok();
                let bytes = plain.or_else(|| Measure::Bytes.parse(value));
                bytes.ok_or_else(|| wrong(key, value, Measure::Bytes.form()))
            };
            match key {
                "for" => {
                    let ns = Measure::Nanoseconds.parse(value);
                    let ns = ns.ok_or_else(|| wrong(key, value, Measure::Nanoseconds.form()))?;
                    ttl = Some(Duration::from_nanos(ns));
                }
                "unit" => incident = incident.unit(value),
                "target" => incident = incident.target(value),
                "heap" => incident = incident.heap(bytes()?),
                "who" => incident = incident.who(value),
                "why" => incident = incident.why(value),
                "max_bytes" => incident = incident.max_bytes(bytes()?),
                "max_cpu" => {
                    let share = value.parse().ok().filter(|share| is_cpu_share(*share));
                    let form = "a share above 0 and up to 1, like 0.05";
                    incident = incident.max_cpu(share.ok_or_else(|| wrong(key, value, form))?);
                }
                _ => match key.strip_prefix("field.") {
                    Some(name) if !name.is_empty() => incident = incident.field(name, value),
                    _ => {
                        let form = "one of for, unit, target, field.NAME, heap, who, why, max_cpu, \
                                    max_bytes";
                        return Err(wrong(key, value, form));
                    }
                },
            }
        }
        incident.ttl =
            ttl.ok_or_else(|| wrong("for", "", "a duration, like 60s: it is missing"))?;
        incident.check_effect()?;
        Ok(incident)
    }
}

/// The text that a part of an address stands for; `None`: it stands for none.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_the_builder_says() {
        let parsed: Incident =
            "for=1.5min&target=shop&field.user=42&heap=4096&who=me&max_cpu=0.1&max_bytes=1 MiB"
                .parse()
                .unwrap();
        let built = Incident::for_(Duration::from_secs(90))
            .target("shop")
            .field("user", "42")
            .heap(4096)
            .who("me")
            .max_cpu(0.1)
            .max_bytes(1 << 20);
        assert_eq!(parsed, built);
    }

    #[test]
    fn a_text_may_come_from_an_address() {
        let text = "?for=60s&unit=GET%20/orders/%7Bid%7D&why=a%26b ";
        let parsed: Incident = text.parse().unwrap();
        let built = Incident::for_(Duration::from_secs(60)).unit("GET /orders/{id}");
        assert_eq!(parsed, built.why("a&b"));
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        for (text, key) in [
            ("", "for"),
            ("unit=checkout", "for"),
            ("for=soon", "for"),
            ("for=60s&heap=lots", "heap"),
            ("for=60s&max_cpu=all", "max_cpu"),
            ("for=60s&colour=red", "colour"),
            ("for=60s&field.=1", "field."),
            ("for", "for"),
            ("for=60s&for=5s", "for"),
            ("for=60s&why=100%", "why"),
            ("for=60s&max_cpu=NaN", "max_cpu"),
            ("for=60s&max_cpu=-1", "max_cpu"),
            ("for=60s&max_cpu=2", "max_cpu"),
            ("for=60s&unit=GET+/orders", "unit"),
            ("for=60s&%=1", "%"),
            ("for=60\u{3164}s", "for"),
        ] {
            let error = text.parse::<Incident>().unwrap_err();
            let message = error.to_string();
            assert!(message.contains(&format!("{key:?}")), "{text}: {message}");
            assert!(!message.contains('\u{3164}'), "{message}");
        }
    }
}
