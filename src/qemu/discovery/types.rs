//! The types of an emulator's objects, and which type each is derived from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::Name;

/// The tree of QOM types of one emulator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Types {
    /// The parent of each type that has one.
    parents: BTreeMap<Name, Name>,
}

impl Types {
    /// A tree of these types, each with its parent.
    pub fn new(parents: impl IntoIterator<Item = (Name, Name)>) -> Self {
        Self { parents: parents.into_iter().collect() }
    }

    /// The type `ty` and those it is derived from, nearest first.
    pub fn ancestors<'t>(&'t self, ty: &'t str) -> impl Iterator<Item = &'t str> {
        let next = |ty: &&'t str| self.parents.get(*ty).map(Name::as_str);
        // A damaged tree may hold a cycle; no real one is as deep.
        std::iter::successors(Some(ty), next).take(64)
    }

    /// Whether `ty` is `ancestor` or derived from it.
    pub fn is_a(&self, ty: &str, ancestor: &str) -> bool {
        self.ancestors(ty).any(|ty| ty == ancestor)
    }

    /// Whether nothing is known of any type.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// Adds the types of another tree.
    pub(super) fn extend(&mut self, other: Self) {
        self.parents.extend(other.parents);
    }

    /// The types in it that are among `of` or their ancestors.
    pub(super) fn only<'t>(&'t self, of: impl IntoIterator<Item = &'t str>) -> Self {
        let mut kept = BTreeMap::new();
        for ty in of.into_iter().flat_map(|ty| self.ancestors(ty)) {
            if let Some((ty, parent)) = self.parents.get_key_value(ty) {
                kept.insert(ty.clone(), parent.clone());
            }
        }
        Self { parents: kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(of: &[(&str, &str)]) -> Types {
        Types::new(of.iter().map(|&(ty, parent)| (ty.into(), parent.into())))
    }

    /// Would catch a type that is not found to be what it is derived from, and ancestors that
    /// are lost with the types that nobody needs.
    #[test]
    fn a_type_is_all_that_it_is_derived_from() {
        let all = types(&[("pl011_luminary", "pl011"), ("pl011", "device"), ("x", "device")]);
        assert!(all.is_a("pl011_luminary", "pl011"));
        assert!(all.is_a("pl011_luminary", "device"));
        assert!(!all.is_a("pl011", "pl011_luminary"));
        assert!(all.is_a("unknown", "unknown"));
        let some = all.only(["pl011_luminary"]);
        assert!(some.is_a("pl011_luminary", "device"));
        assert!(!some.is_a("x", "device"));
    }

    /// Would catch a damaged tree that is followed for ever.
    #[test]
    fn a_cycle_ends() {
        assert!(!types(&[("a", "b"), ("b", "a")]).is_a("a", "device"));
    }
}
