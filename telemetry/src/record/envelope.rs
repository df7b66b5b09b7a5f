//! What every record begins with.

use crate::tool::calendar::timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Who says it, and when: what every record begins with.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use telemetry::record::{Envelope, Resource};
///
/// let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let envelope = Envelope::new(Resource::new("checkout"), at);
/// assert!(envelope.ts.starts_with("2027-01-15T08:00:00"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Envelope {
    /// The version of the format: 1.
    pub v: u32,
    /// When it was, RFC 3339 in UTC; of a summary, the end of its time.
    pub ts: String,
    /// Who says it.
    #[serde(flatten)]
    pub resource: Resource,
}

impl Envelope {
    /// Of a record about this moment, in the newest version of the format.
    pub fn new(resource: Resource, at: SystemTime) -> Self {
        Envelope {
            v: super::VERSION,
            ts: timestamp(at),
            resource,
        }
    }
}

/// Who says it: the service, and what tells its processes apart.
///
/// ```
/// use telemetry::record::Resource;
///
/// let resource = Resource::new("checkout").with("deployment.environment", "staging");
/// assert_eq!(resource.attributes["deployment.environment"], "staging");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resource {
    /// The name of the service.
    pub service: String,
    /// Anything else, by names as OpenTelemetry has them: `service.version`, `host.name`.
    #[serde(
        rename = "resource",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub attributes: BTreeMap<String, String>,
}

impl Resource {
    /// A service of this name, and nothing else about it.
    pub fn new(service: impl Into<String>) -> Self {
        Resource {
            service: service.into(),
            attributes: BTreeMap::new(),
        }
    }

    /// The same with one attribute more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }
}
