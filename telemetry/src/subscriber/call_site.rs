//! What a call site of spans or events says of itself.

use super::error_field::ErrorField;
use crate::record::Level;
use std::fmt;
use std::ptr;
use tracing::Metadata;

/// A call site, which lasts as long as the program.
#[derive(Clone, Copy)]
pub(crate) struct CallSite(&'static Metadata<'static>);

impl From<&'static Metadata<'static>> for CallSite {
    #[inline]
    fn from(metadata: &'static Metadata<'static>) -> Self {
        CallSite(metadata)
    }
}

impl CallSite {
    /// What tells it from every other one.
    #[inline]
    pub(crate) fn address(self) -> usize {
        address(self.0)
    }

    #[inline]
    pub(crate) fn metadata(self) -> &'static Metadata<'static> {
        self.0
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }

    pub(crate) fn target(self) -> &'static str {
        self.0.target()
    }

    pub(crate) fn level(self) -> Level {
        self.0.level().as_str().into()
    }

    #[inline]
    pub(crate) fn is_error(self) -> bool {
        *self.0.level() == tracing::Level::ERROR
    }

    pub(crate) fn is_event(self) -> bool {
        self.0.is_event()
    }

    pub(crate) fn line(self) -> Option<u32> {
        self.0.line()
    }

    /// `file:line`, or less if that is all there is.
    pub(crate) fn location(self) -> Option<String> {
        let file = self.0.file()?;
        Some(match self.0.line() {
            Some(line) => format!("{file}:{line}"),
            None => file.to_owned(),
        })
    }

    /// The name of its field with this number.
    pub(crate) fn field_name(self, number: u8) -> Option<&'static str> {
        let mut fields = self.0.fields().iter();
        Some(fields.nth(usize::from(number))?.name())
    }

    /// The names of its fields, in the order of their numbers.
    pub(crate) fn field_names(self) -> impl Iterator<Item = &'static str> {
        self.0.fields().iter().map(|field| field.name())
    }

    /// Whether a span of it has a field that may say that it failed.
    pub(crate) fn tells_errors(self) -> bool {
        ErrorField::is_in(self.0)
    }
}

impl fmt::Debug for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.target(), self.name())
    }
}

/// The address of the call site that has these metadata, which are it.
#[inline]
pub(super) fn address(metadata: &Metadata<'_>) -> usize {
    ptr::from_ref(metadata).cast::<()>() as usize
}

/// A call site that is nowhere in the code.
#[cfg(test)]
pub(crate) fn made_up(name: &'static str, target: &'static str, level: Level) -> CallSite {
    use tracing::callsite::{Callsite, Identifier};
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;

    struct Nowhere;

    impl Callsite for Nowhere {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody asks")
        }
    }

    static NOWHERE: Nowhere = Nowhere;
    let fields = FieldSet::new(&[], Identifier(&NOWHERE));
    let (level, kind) = (level.as_str().parse().unwrap(), Kind::SPAN);
    let metadata = Metadata::new(name, target, level, None, None, None, fields, kind);
    CallSite(Box::leak(Box::new(metadata)))
}
