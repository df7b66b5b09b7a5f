//! Who writes the records: what the program says, else its environment, else what the process knows of itself.

use crate::record::Resource;
use crate::tool::calendar::timestamp;
use crate::tool::names;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::SystemTime;

const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// What OpenTelemetry calls the name of a service, which stands in a record's own field.
const NAME: &str = "service.name";

/// Fills in what the program did not say. What of the environment could not be read, and so was left out, is said.
pub(super) fn complete(
    service: Option<String>,
    attributes: BTreeMap<String, String>,
    variable: impl Fn(&str) -> Option<String>,
    now: SystemTime,
) -> (Resource, Vec<String>) {
    let mut untold = Vec::new();
    let mut of_environment = BTreeMap::new();
    if let Some(text) = variable(ATTRIBUTES) {
        match parse(&text) {
            Ok(read) => of_environment = read,
            Err(why) => untold.push(format!(
                "{ATTRIBUTES} is left out, all of it: {why}; write name=value,name=value, with anything but letters, \
                 digits and -._~ as %XX"
            )),
        }
    }
    let mut named = of_environment.remove(NAME);
    if let Some(name) = variable(SERVICE).filter(|name| !name.is_empty()) {
        match label(&name) {
            Ok(()) => named = Some(name),
            Err(why) => untold.push(format!("{SERVICE} is left out: {why}")),
        }
    }
    let service = service.or(named).unwrap_or_else(|| "service".to_owned());
    let mut resource = Resource::new(service);
    resource.attributes = attributes;
    let of_process = [
        ("process.pid", std::process::id().to_string()),
        ("service.instance.id", instance_id()),
        ("telemetry.start", timestamp(now)),
    ];
    let of_process = of_process.map(|(name, value)| (name.to_owned(), value));
    for (name, value) in of_environment.into_iter().chain(of_process) {
        resource.attributes.entry(name).or_insert(value);
    }
    (resource, untold)
}

/// What stands in every record, or names an account: as long as a line that a person reads.
pub(super) fn label(text: &str) -> Result<(), String> {
    const LONGEST: usize = 16 << 10;
    if text.len() > LONGEST {
        return Err(format!(
            "it has {} bytes, of which {LONGEST} are taken",
            text.len()
        ));
    }
    names::check(text)?;
    match text.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(format!("there is a control character at column {}", at + 1)),
    }
}

/// As OpenTelemetry writes it: a list with commas, each value encoded by `%XX`.
fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    for (number, pair) in text.split(',').enumerate() {
        if pair.trim().is_empty() {
            continue;
        }
        let at = |why: &str| format!("entry {}: {why}", number + 1);
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| at("there is no `=` in it"))?;
        let decoded = |text: &str| decode(text.trim()).ok_or_else(|| at("a `%` begins no byte"));
        let (name, value) = (decoded(name)?, decoded(value)?);
        label(&name).map_err(|why| at(&format!("its name: {why}")))?;
        // Nothing is said by it.
        if value.is_empty() {
            continue;
        }
        label(&value).map_err(|why| at(&format!("its value: {why}")))?;
        attributes.insert(name, value);
    }
    Ok(attributes)
}

/// `None`: a percent sign does not begin a byte, or the bytes are no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A random UUID, of the keys by which std guards its hash tables.
fn instance_id() -> String {
    let random = || RandomState::new().hash_one((std::process::id(), SystemTime::now()));
    let (high, low) = (random(), random());
    let version = high & !0xF000 | 0x4000;
    let variant = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        version >> 32,
        version >> 16 & 0xFFFF,
        version & 0xFFFF,
        variant >> 48,
        variant & 0xFFFF_FFFF_FFFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(
        service: Option<&str>,
        said: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> (Resource, Vec<String>) {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: BTreeMap<_, _> = variables.iter().map(pair).collect();
        complete(
            service.map(str::to_owned),
            said.iter().map(pair).collect(),
            |name| variables.get(name).cloned(),
            SystemTime::UNIX_EPOCH,
        )
    }

    #[test]
    fn a_process_says_who_it_is() {
        let (resource, untold) = completed(None, &[], &[]);
        assert_eq!((resource.service.as_str(), untold.len()), ("service", 0));
        let attributes = &resource.attributes;
        assert_eq!(attributes["process.pid"], std::process::id().to_string());
        assert!(attributes["telemetry.start"].starts_with("1970-01-01T00:00:00"));
        let id = &attributes["service.instance.id"];
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert!(
            id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]),
            "{id}"
        );
        let (other, _) = completed(None, &[], &[]);
        assert_ne!(&other.attributes["service.instance.id"], id);
    }

    #[test]
    fn the_program_has_the_last_word_and_the_environment_the_one_before() {
        let environment = [(
            ATTRIBUTES,
            "service.name=shop,service.version=1.2, a%20b = c%2Cd%3D%C3%A9 ,process.pid=7,empty=,",
        )];
        let (resource, untold) = completed(None, &[], &environment);
        assert!(untold.is_empty(), "{untold:?}");
        assert_eq!(resource.service, "shop");
        let attributes = &resource.attributes;
        assert_eq!(attributes["service.version"], "1.2");
        assert_eq!(
            (
                attributes["a b"].as_str(),
                attributes["process.pid"].as_str()
            ),
            ("c,d=é", "7")
        );
        assert!(!attributes.contains_key(NAME) && !attributes.contains_key("empty"));

        let both = [environment[0], (SERVICE, "till")];
        assert_eq!(completed(None, &[], &both).0.service, "till");
        let (resource, _) = completed(Some("desk"), &[("service.version", "2")], &both);
        assert_eq!(
            (
                resource.service.as_str(),
                resource.attributes["service.version"].as_str()
            ),
            ("desk", "2")
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_said() {
        for (text, why) in [
            ("a=b,c", "entry 2: there is no `=`"),
            ("a=b%2", "entry 1: a `%`"),
            ("a=%zz", "entry 1: a `%`"),
            ("a=%FF", "entry 1: a `%`"),
            ("=b", "entry 1: its name: it is empty"),
            ("a=b,x=y%0Az", "entry 2: its value: "),
        ] {
            let (resource, untold) = completed(None, &[], &[(ATTRIBUTES, text)]);
            assert_eq!(resource.attributes.len(), 3, "{text}: the process's own");
            let [said] = &untold[..] else {
                panic!("{text}: {untold:?}")
            };
            assert!(said.contains(why) && said.starts_with(ATTRIBUTES), "{said}");
        }
        let (resource, untold) = completed(None, &[], &[(SERVICE, "a\nb")]);
        assert_eq!((resource.service.as_str(), untold.len()), ("service", 1));
    }
}
