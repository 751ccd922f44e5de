//! A text that many descriptions share, such as the name of a type. In a compact format (one
//! that no person reads) a name is a number: its place in the [`Table`] of the file.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A shared, immutable text. Cloning it copies no bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name of this text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::new("")
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The names of one file, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    names: Vec<Name>,
    numbers: HashMap<Name, u32>,
}

thread_local! {
    /// The table that names are written to, or read from, by this thread.
    static CURRENT: RefCell<Option<Table>> = const { RefCell::new(None) };
}

impl Table {
    /// A table for reading: name number N is the Nth of `names`.
    pub(super) fn of(names: Vec<Name>) -> Self {
        Self { names, numbers: HashMap::new() }
    }

    /// Its names, in the order of their numbers.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Does `what`, in which names that are written get their numbers from this table, and
    /// numbers that are read their names.
    pub(super) fn scope<T>(&mut self, what: impl FnOnce() -> T) -> T {
        /// Puts the table back even if `what` panics.
        struct Return<'t>(&'t mut Table);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                if let Some(table) = CURRENT.take() {
                    *self.0 = table;
                }
            }
        }
        CURRENT.set(Some(std::mem::take(self)));
        let _back = Return(self);
        what()
    }

    fn number(&mut self, name: &Name) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.serialize_str(self);
        }
        let number = CURRENT.with_borrow_mut(|table| Some(table.as_mut()?.number(self)));
        to.serialize_u32(number.ok_or_else(|| S::Error::custom("no table of names"))?)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Ok(Self(String::deserialize(from)?.into()));
        }
        let number = usize::try_from(u32::deserialize(from)?).unwrap_or(usize::MAX);
        let name = CURRENT.with_borrow(|table| table.as_ref()?.names.get(number).cloned());
        name.ok_or_else(|| D::Error::custom("a name that is not in the table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch names that are mixed up, and a number without a name that is taken for one.
    #[test]
    fn a_table_gives_back_what_it_was_given() {
        let written: Vec<Name> = ["a", "", "b", "a"].map(Name::new).into();
        let mut table = Table::default();
        let bytes = table.scope(|| postcard::to_stdvec(&written)).unwrap();
        assert_eq!(bytes, [4, 0, 1, 2, 0]);
        assert_eq!(table.names().len(), 3);
        let mut table = Table::of(table.names().to_vec());
        let read: Vec<Name> = table.scope(|| postcard::from_bytes(&bytes)).unwrap();
        assert_eq!(read, written);
        assert_eq!(table.names().len(), 3, "the table is there again");
        let wrong = table.scope(|| postcard::from_bytes::<Name>(&[3]));
        assert!(wrong.is_err());
        assert!(postcard::from_bytes::<Name>(&[0]).is_err(), "no table at all");
    }

    /// Would catch numbers where a person reads.
    #[test]
    fn json_has_the_text() {
        assert_eq!(serde_json::to_string(&Name::new("ssi.0")).unwrap(), r#""ssi.0""#);
        assert_eq!(serde_json::from_str::<Name>(r#""ssi.0""#).unwrap(), "ssi.0");
    }
}
