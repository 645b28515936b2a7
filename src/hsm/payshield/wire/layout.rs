//! Structures as tables: one line a field, in the order of the wire, its text both rustdoc and name in errors.
//!
//! **Never here:** a command.

/// A structure whose fields follow each other on the wire.
macro_rules! layout {
    ($(#[$meta:meta])* $name:ident<$l:lifetime> { $($field:ident: $type:ty = $what:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<$l> { $(#[doc = $what] pub $field: $type,)* }

        impl<$l> $crate::hsm::payshield::wire::Field<$l> for $name<$l> {
            fn read(
                reader: &mut $crate::hsm::payshield::wire::scan::Reader<$l>,
            ) -> Result<Self, $crate::hsm::payshield::wire::Fault> {
                Ok(Self { $($field: reader.field($what)?,)* })
            }

            fn write(&self, writer: &mut $crate::hsm::payshield::wire::scan::Writer<'_>) {
                $(self.$field.write(writer);)*
            }
        }

        #[cfg(test)]
        impl $crate::hsm::payshield::wire::tests::sample::Sample for $name<'static> {
            fn sample(draw: &mut $crate::hsm::payshield::wire::tests::sample::Draw) -> Self {
                Self { $($field: draw.some(),)* }
            }
        }
    };
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty = $what:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $(#[doc = $what] pub $field: $type,)* }

        impl<'a> $crate::hsm::payshield::wire::Field<'a> for $name {
            fn read(
                reader: &mut $crate::hsm::payshield::wire::scan::Reader<'a>,
            ) -> Result<Self, $crate::hsm::payshield::wire::Fault> {
                // A structure may be empty.
                let _ = &reader;
                Ok(Self { $($field: reader.field($what)?,)* })
            }

            fn write(&self, writer: &mut $crate::hsm::payshield::wire::scan::Writer<'_>) {
                let _ = &writer;
                $(self.$field.write(writer);)*
            }
        }

        #[cfg(test)]
        impl $crate::hsm::payshield::wire::tests::sample::Sample for $name {
            fn sample(draw: &mut $crate::hsm::payshield::wire::tests::sample::Draw) -> Self {
                let _ = &draw;
                Self { $($field: draw.some(),)* }
            }
        }
    };
}

pub(crate) use layout;
