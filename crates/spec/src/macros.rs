//! One line per property: name in JSON, type, getter, reading and writing.

/// Declares an object of the specification.
///
/// `copy` getters return the value, `view` getters a reference. A `required` property that is
/// absent is a problem.
macro_rules! object {
    (
        $(#[$about:meta])*
        $name:ident {
            $(
                $(#[$doc:meta])*
                $how:ident $field:ident: $type:ty = $($required:ident)? $key:literal $(, $set:ident)?;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($field: $type,)*
        }

        impl $name {
            $(
                object!(@get $how [$(#[$doc])*] $field: $type);
                $(
                    #[doc = concat!("Replaces `", $key, "`.")]
                    pub fn $set(&mut self, value: $type) {
                        self.$field = value;
                    }
                )?
            )*
        }

        impl $crate::Decode for $name {
            #[inline(never)]
            fn decode<'d>(
                value: &'d $crate::json::Value<'d>,
                decoder: &mut $crate::Decoder<'d>,
            ) -> Self {
                let members = decoder.members(value, &[$($key),*]);
                Self {
                    $($field: decoder.property(members, $key, object!(@required $($required)?)),)*
                }
            }
        }

        impl $crate::Encode for $name {
            fn encode(&self, writer: &mut $crate::Writer) {
                let members: &[(&str, &dyn $crate::Encode)] = &[$(($key, &self.$field)),*];
                writer.object(members.iter().copied());
            }
        }
    };
    (@get copy [$($doc:tt)*] $field:ident: $type:ty) => {
        $($doc)*
        pub fn $field(&self) -> $type {
            self.$field
        }
    };
    (@get view [$($doc:tt)*] $field:ident: $type:ty) => {
        $($doc)*
        pub fn $field(&self) -> &$type {
            &self.$field
        }
    };
    (@required) => { false };
    (@required required) => { true };
}

/// Declares a choice between words.
macro_rules! words {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the specification says what a word means")]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            const WORDS: &[&'static str] = &[$($word,)*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::Decode for $name {
            fn decode<'d>(
                value: &'d $crate::json::Value<'d>,
                decoder: &mut $crate::Decoder<'d>,
            ) -> Self {
                let place = decoder.word(value, Self::WORDS);
                place.map_or_else(Self::default, |place| Self::ALL[place])
            }

            fn is_absent(value: &$crate::json::Value<'_>) -> bool {
                match value {
                    $crate::json::Value::Null => true,
                    $crate::json::Value::String(word) => word.is_empty(),
                    _ => false,
                }
            }
        }

        impl $crate::Encode for $name {
            fn encode(&self, writer: &mut $crate::Writer) {
                writer.string(self.as_str());
            }
        }
    };
}
