//! Mappings with keys: one list of documented keys makes the struct, its reader, its writer and its reference.

/// A key of a mapping, for the reference and for suggestions.
#[derive(Debug)]
pub struct KeyDoc {
    pub name: &'static str,
    /// Lines of Markdown. The last sentence begins with `Default:` where the key may be absent and that matters.
    pub doc: &'static str,
    pub required: bool,
    /// What its value is.
    pub shape: Shape,
    /// The keys of its value, or of each item of its value, where that is a mapping.
    pub keys: &'static [KeyDoc],
    /// Further keys of it, which several mappings share.
    pub more: &'static [KeyDoc],
}

/// The form of a value, as the reference and the JSON Schema tell it.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text, with what it means.
    Text(&'static str),
    /// The same, with a regular expression that every such text matches.
    Form(&'static str, &'static str),
    /// A whole number.
    Number,
    /// A number of bytes, with or without a unit.
    Size,
    Bool,
    Words(&'static [&'static str]),
    /// A mapping, see [`KeyDoc::keys`]. A scalar may stand for it as the value of the key named here.
    Keys(Option<&'static str>),
    List(&'static Self),
    /// A list of at least one.
    Filled(&'static Self),
    OneOrList(&'static Self),
    /// A mapping whose keys are names.
    Named(&'static Self),
    OrOff(&'static Self),
}

/// A mapping: its struct, how it is read, and its reference, from one list of documented keys.
///
/// `required`, `optional` (an `Option`), `many` (a `Vec`, empty when absent) or `deep` (an `Option` that
/// [`Deep::under`] merges key by key) stands before each key. `with field: Record` takes the keys of another
/// record in. Before the struct `default` gives it a `Default`, `merge` also [`Deep`]; `short key` lets a
/// scalar stand for a mapping with that key alone.
macro_rules! record {
    (@type required $ty:ty) => { $ty };
    (@type optional $ty:ty) => { Option<$ty> };
    (@type deep $ty:ty) => { Option<$ty> };
    (@type many $ty:ty) => { Vec<$ty> };
    (@shape many $ty:ty) => { <Vec<$ty> as FromNode>::SHAPE };
    (@shape $kind:ident $ty:ty) => { <$ty as FromNode>::SHAPE };
    (@short) => { None };
    (@short $short:ident) => { Some(stringify!($short)) };
    (@read required $reader:ident $fields:ident $name:expr) => { $reader.required($fields, $name) };
    (@read many $reader:ident $fields:ident $name:expr) => { $reader.many($fields, $name) };
    (@read $kind:ident $reader:ident $fields:ident $name:expr) => { Some($reader.optional($fields, $name)) };
    (@merge deep $own:expr, $outer:expr) => { $crate::config::record::Deep::under($own, $outer) };
    (@merge optional $own:expr, $outer:expr) => { $own.or_else(|| $outer.clone()) };
    (
        merge
        $(#[doc = $about:literal])+
        pub struct $Name:ident { $($(#[doc = $doc:literal])+ $kind:ident $key:ident: $ty:ty,)* }
    ) => {
        $crate::config::record::record! {
            default
            $(#[doc = $about])+
            pub struct $Name { $($(#[doc = $doc])+ $kind $key: $ty,)* }
        }

        impl $crate::config::record::Deep for $Name {
            fn under(self, outer: &Self) -> Self {
                Self { place: self.place, $($key: $crate::config::record::record!(@merge $kind self.$key, &outer.$key),)* }
            }
        }
    };
    (
        default $(short $short:ident)?
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $($(#[doc = $doc:literal])+ $kind:ident $key:ident: $ty:ty,)*
            $(with $flat:ident: $Flat:ty,)?
        }
    ) => {
        $crate::config::record::record! {
            $(short $short)?
            $(#[doc = $about])+
            pub struct $Name { $($(#[doc = $doc])+ $kind $key: $ty,)* $(with $flat: $Flat,)? }
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { place: Default::default(), $($key: Default::default(),)* $($flat: Default::default(),)? }
            }
        }
    };
    (
        $(short $short:ident)?
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $($(#[doc = $doc:literal])+ $kind:ident $key:ident: $ty:ty,)*
            $(with $flat:ident: $Flat:ty,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $Name {
            /// Where it is written.
            pub place: std::sync::Arc<$crate::diagnostic::Place>,
            $($(#[doc = $doc])+ pub $key: $crate::config::record::record!(@type $kind $ty),)*
            $(pub $flat: $Flat,)?
        }

        impl $Name {
            /// Takes its keys out of a mapping.
            pub(super) fn from_fields(
                reader: &mut $crate::config::read::Reader<'_>,
                fields: &mut $crate::config::read::Fields<'_>,
            ) -> Option<Self> {
                let place = fields.place.clone();
                $(let $key = $crate::config::record::record!(@read $kind reader fields stringify!($key));)*
                $(let $flat = <$Flat>::from_fields(reader, fields)?;)?
                Some(Self { place, $($key: $key?,)* $($flat,)? })
            }
        }

        impl $crate::config::write::ToYaml for $Name {
            fn to_yaml(&self) -> Option<$crate::config::write::Yaml> {
                let mut members = Vec::new();
                $($crate::config::write::member(&mut members, stringify!($key), concat!($($doc, "\n"),+), &self.$key);)*
                $(members.extend($crate::config::write::members(&self.$flat));)?
                Some($crate::config::write::Yaml::Map(members))
            }
        }

        impl FromNode for $Name {
            const WHAT: &'static str = "a mapping";
            const SHAPE: $crate::config::record::Shape =
                $crate::config::record::Shape::Keys($crate::config::record::record!(@short $($short)?));
            const KEYS: &'static [$crate::config::record::KeyDoc] = &[$($crate::config::record::KeyDoc {
                name: stringify!($key),
                doc: concat!($($doc, "\n"),+),
                required: matches!(stringify!($kind).as_bytes(), b"required"),
                shape: $crate::config::record::record!(@shape $kind $ty),
                keys: <$ty as FromNode>::KEYS,
                more: <$ty as FromNode>::MORE,
            }),*];
            $(const MORE: &'static [$crate::config::record::KeyDoc] = <$Flat as FromNode>::KEYS;)?

            $(const SHORT: bool = !stringify!($short).is_empty();)?

            fn from_node(reader: &mut $crate::config::read::Reader<'_>, node: &$crate::config::span::Node) -> Option<Self> {
                $(if matches!(node.value, $crate::config::span::Value::Scalar { .. }) {
                    let mut fields = reader.short(stringify!($short), node);
                    return Self::from_fields(reader, &mut fields);
                })?
                let mut fields = reader.fields(Self::WHAT, node)?;
                let record = Self::from_fields(reader, &mut fields);
                reader.finish(fields, Self::KEYS, Self::MORE);
                record
            }
        }
    };
}
pub(super) use record;

/// Something that is merged key by key with what stands further out; the nearer wins.
pub trait Deep: Sized {
    #[must_use]
    fn under(self, outer: &Self) -> Self;
}

impl<T: Deep + Clone> Deep for Option<T> {
    fn under(self, outer: &Self) -> Self {
        match (self, outer) {
            (Some(own), Some(outer)) => Some(own.under(outer)),
            (own, outer) => own.or_else(|| outer.clone()),
        }
    }
}
