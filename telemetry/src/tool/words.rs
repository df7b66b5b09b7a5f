//! Closed sets that are written as words, and that a newer version may have more of.

/// An enum of words. One that it does not know is read as `Unknown`, and compares with texts as its word.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$of_word:meta])* $word:ident = $text:literal),* $(,)? }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$of_word])* $word,)*
            /// A word that this version of the library does not know.
            #[default]
            Unknown,
        }

        impl $name {
            /// All that are known, in order.
            pub const ALL: [$name; [$($text),*].len()] = [$($name::$word),*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$word => $text,)*
                    $name::Unknown => "unknown",
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($text => $name::$word,)*
                    _ => $name::Unknown,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, word: &str) -> bool {
                self.as_str() == word
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, word: &&str) -> bool {
                self.as_str() == *word
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(std::borrow::Cow::<str>::deserialize(from)?.as_ref().into())
            }
        }
    };
}

pub(crate) use words;
