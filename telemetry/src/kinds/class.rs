//! What fields of a span say of its class: `GET /books/{id}` is one, whichever book it is.
//!
//! A [`Plan`] says which fields of a call site name a class, [`Parts`] take their values as they are recorded, and a
//! [`Class`] is what comes of them. Nothing here allocates but the plan.

use super::path;
use super::text::Text;
use std::fmt;

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The class, as the program has it: the builder named the field.
    Named,
    /// The route that a request was matched to.
    Route,
    /// The class, as OpenTelemetry has it.
    OtelName,
    RpcService,
    RpcMethod,
    /// Where a message came from.
    Destination,
    Job,
    /// Of a request over HTTP.
    Method,
    /// What a request was sent to, with all that tells it from others.
    Uri,
}

/// The fields that name a class, for every span.
const FIELDS: [(&str, Role); 17] = [
    ("http.route", Role::Route),
    // As the examples of axum have it.
    ("matched_path", Role::Route),
    ("otel.name", Role::OtelName),
    ("rpc.service", Role::RpcService),
    ("rpc.method", Role::RpcMethod),
    ("messaging.destination", Role::Destination),
    ("messaging.destination.name", Role::Destination),
    ("job", Role::Job),
    ("job.name", Role::Job),
    ("http.request.method", Role::Method),
    ("http.method", Role::Method),
    ("method", Role::Method),
    ("uri", Role::Uri),
    ("url.path", Role::Uri),
    ("http.target", Role::Uri),
    ("http.uri", Role::Uri),
    ("path", Role::Uri),
];

/// Where a class comes from. What is further down goes by what is further up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// From nothing: there is no class.
    #[default]
    None,
    /// The method alone: the route is not known yet, or there is none.
    Method,
    Uri,
    Job,
    Destination,
    Rpc,
    OtelName,
    Route,
    Named,
}

/// Fields of a span have numbers below this.
const MOST_FIELDS: usize = 32;

/// Which fields of a call site say what.
#[derive(Debug)]
pub(crate) struct Plan {
    roles: [Option<Role>; MOST_FIELDS],
}

impl Plan {
    /// `None`: none of these fields names a class. `named`: those that do by the builder.
    pub(super) fn of<'a>(fields: impl Iterator<Item = &'a str>, named: &[String]) -> Option<Self> {
        let mut roles = [None; MOST_FIELDS];
        for (role, field) in roles.iter_mut().zip(fields) {
            *role = match named.iter().any(|named| named == field) {
                true => Some(Role::Named),
                false => FIELDS
                    .iter()
                    .find(|(name, _)| *name == field)
                    .map(|(_, role)| *role),
            };
        }
        let mut plan = Plan { roles };
        // A method is one of HTTP, and a path one of a request, where both are.
        let is_request = plan.has(Role::Method) && (plan.has(Role::Uri) || plan.has(Role::Route));
        if !is_request {
            plan.forget(Role::Method);
        }
        // What has a route may have none for what is asked for, and that may be anything.
        if !is_request || plan.has(Role::Route) {
            plan.forget(Role::Uri);
        }
        plan.roles.iter().any(Option::is_some).then_some(plan)
    }

    fn has(&self, role: Role) -> bool {
        self.roles.contains(&Some(role))
    }

    fn forget(&mut self, role: Role) {
        let roles = self.roles.iter_mut();
        roles
            .filter(|known| **known == Some(role))
            .for_each(|known| *known = None);
    }

    /// What the field with this number says.
    #[inline]
    pub(crate) fn role_of(&self, field: usize) -> Option<Role> {
        *self.roles.get(field)?
    }
}

/// The most bytes of a class.
const MOST: usize = 96;

/// What the fields of a span say, as they are recorded.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    plan: &'a Plan,
    method: Text<16>,
    service: Text<MOST>,
    /// The part that ranks highest.
    main: Text<MOST>,
    rank: Rank,
}

impl<'a> Parts<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Parts {
            plan,
            method: Text::new(),
            service: Text::new(),
            main: Text::new(),
            rank: Rank::None,
        }
    }

    /// What the field with this number says; `None` if nothing that is asked for.
    #[inline]
    pub(crate) fn role_of(&self, field: usize) -> Option<Role> {
        self.plan.role_of(field)
    }

    /// A field has this value, or none if that is empty.
    pub(crate) fn take(
        &mut self,
        role: Role,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        // An error says that it is cut.
        let mut value = Text::<{ 2 * MOST }>::new();
        let _ = write(&mut value);
        let value = unquoted(value.as_bytes());
        if value.is_empty() {
            return;
        }
        let rank = match role {
            Role::Method => {
                self.method = Text::new();
                self.method.put(value);
                Rank::Method
            }
            Role::RpcService => {
                self.service = Text::new();
                self.service.put(value);
                return;
            }
            Role::Uri => Rank::Uri,
            Role::Job => Rank::Job,
            Role::Destination => Rank::Destination,
            Role::RpcMethod => Rank::Rpc,
            Role::OtelName => Rank::OtelName,
            Role::Route => Rank::Route,
            Role::Named => Rank::Named,
        };
        if rank < self.rank {
            return;
        }
        self.rank = rank;
        self.main = Text::new();
        match rank {
            Rank::None | Rank::Method => {}
            Rank::Named => self.main.put(value),
            Rank::Uri => path::put_class(path::of_uri(value), &mut self.main),
            _ => path::put_class(value, &mut self.main),
        }
    }

    /// What they say in all. `before`: what was known already.
    pub(super) fn class(&self, before: Option<&Class>) -> Option<Class> {
        if let Some(before) = before.filter(|before| before.rank > self.rank) {
            return Some(*before);
        }
        let mut text = Text::new();
        let mut method = 0;
        if matches!(self.rank, Rank::Method | Rank::Uri | Rank::Route) {
            match (self.method.is_empty(), before) {
                (false, _) => text.put(self.method.as_bytes()),
                (true, Some(before)) => text.put(before.method()),
                (true, None) => {}
            }
            method = text.len;
        }
        match self.rank {
            Rank::Uri | Rank::Route if method > 0 => text.put(b" "),
            Rank::Rpc if !self.service.is_empty() => {
                text.put(self.service.as_bytes());
                text.put(b"/");
            }
            _ => {}
        }
        text.put(self.main.as_bytes());
        (self.rank > Rank::None).then_some(Class {
            text,
            rank: self.rank,
            method,
        })
    }
}

/// The class of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    text: Text<{ MOST + 16 }>,
    rank: Rank,
    /// The bytes of it that are the method.
    method: usize,
}

impl Class {
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(super) fn rank(&self) -> Rank {
        self.rank
    }

    fn method(&self) -> &[u8] {
        self.as_bytes().get(..self.method).unwrap_or_default()
    }
}

/// A text as `Debug` writes it has quotes around it.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(fields: &[(&str, &str)], named: &[&str]) -> Option<String> {
        later(&[fields], named)
    }

    /// What was recorded one after the other.
    fn later(rounds: &[&[(&str, &str)]], named: &[&str]) -> Option<String> {
        let named: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in rounds.iter().copied().flatten() {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let plan = Plan::of(names.iter().copied(), &named)?;
        let mut class: Option<Class> = None;
        for fields in rounds {
            let mut parts = Parts::new(&plan);
            for (name, value) in *fields {
                let field = names.iter().position(|known| known == name).unwrap();
                if let Some(role) = parts.role_of(field) {
                    parts.take(role, |text| text.write_str(value));
                }
            }
            class = parts.class(class.as_ref());
        }
        Some(class?.text.as_str().to_owned())
    }

    #[test]
    fn a_request_is_of_the_class_of_its_route_however_its_fields_are_ordered() {
        let fields = [
            ("method", "GET"),
            ("http.route", "/books/{id}"),
            ("uri", "/books/17?x=1"),
        ];
        for turn in 0..3 {
            let mut fields = fields;
            fields.rotate_left(turn);
            assert_eq!(class_of(&fields, &[]).as_deref(), Some("GET /books/{id}"));
        }
        let fields = [
            ("http.request.method", "\"PUT\""),
            ("http.route", "/books/:id"),
        ];
        assert_eq!(class_of(&fields, &[]).as_deref(), Some("PUT /books/:id"));
    }

    #[test]
    fn without_a_route_it_is_the_path_without_what_tells_one_from_another() {
        let of = |uri| class_of(&[("method", "GET"), ("uri", uri)], &[]).unwrap();
        assert_eq!(of("/"), "GET /");
        assert_eq!(of("/books/17/pages?from=3"), "GET /books/{id}/pages");
        assert_eq!(of("http://shop.test:80/books/17"), "GET /books/{id}");
        assert_eq!(of("http://shop.test"), "GET /");
        assert_eq!(
            class_of(&[("method", "GET"), ("path", "/a")], &[]).as_deref(),
            Some("GET /a")
        );
        // A path that is no request's.
        assert_eq!(class_of(&[("path", "/etc/hosts")], &[]), None);
        assert_eq!(class_of(&[("method", "subscribe")], &[]), None);
    }

    #[test]
    fn a_route_that_is_recorded_late_takes_the_place_of_what_was_known() {
        let begun: &[_] = &[("method", "GET"), ("otel.name", "GET"), ("http.route", "")];
        assert_eq!(later(&[begun], &[]).as_deref(), Some("GET"));
        let route: &[_] = &[("http.route", "/books/{id}")];
        let begun: &[_] = &[("method", "GET"), ("uri", "/books/17"), ("http.route", "")];
        assert_eq!(later(&[begun], &[]).as_deref(), Some("GET"));
        assert_eq!(
            later(&[begun, route], &[]).as_deref(),
            Some("GET /books/{id}")
        );
        // What is less than what is known changes nothing.
        let status: &[_] = &[("http.method", "POST")];
        assert_eq!(
            later(&[begun, route, status], &[]).as_deref(),
            Some("GET /books/{id}")
        );
    }

    #[test]
    fn other_fields_name_classes_too_and_those_of_the_builder_first() {
        let of = |name, value| class_of(&[(name, value)], &["tenant"]);
        assert_eq!(of("otel.name", "GET /a").as_deref(), Some("GET /a"));
        assert_eq!(
            of("messaging.destination", "orders").as_deref(),
            Some("orders")
        );
        assert_eq!(of("job", "\"send_mail\"").as_deref(), Some("send_mail"));
        assert_eq!(of("tenant", "17").as_deref(), Some("17"));
        assert_eq!(of("user", "17"), None);
        let rpc = [("rpc.method", "Buy"), ("rpc.service", "shop.Orders")];
        assert_eq!(class_of(&rpc, &[]).as_deref(), Some("shop.Orders/Buy"));
        let both = [("tenant", "gold"), ("http.route", "/a"), ("method", "GET")];
        assert_eq!(class_of(&both, &["tenant"]).as_deref(), Some("gold"));
        assert_eq!(class_of(&[("job", "")], &[]), None);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        // Also where the room ends inside of one.
        let odd = class_of(&[("tenant", &format!("a{}", "é".repeat(200)))], &["tenant"]);
        assert!(odd.unwrap().ends_with('é'));
        let long = "é".repeat(200);
        let class = class_of(&[("otel.name", &long)], &[]).unwrap();
        assert!(
            class.len() <= MOST + 16 && class.chars().all(|c| c == 'é'),
            "{class}"
        );
    }
}
