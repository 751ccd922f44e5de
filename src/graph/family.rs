//! Families: devices that differ in little more than their name, as one table from which the
//! names of their nodes and what sets each apart come.

/// A member of a family.
#[derive(Debug, Clone, Copy)]
pub struct Member<T> {
    /// The name of its node, which `-device` takes.
    pub name: &'static str,
    /// The device type that `name` is an alias of; `name` itself if it is none.
    pub device: &'static str,
    /// What sets it apart.
    pub value: T,
}

impl<T> Member<T> {
    /// A member that is called like its device type.
    pub const fn new(name: &'static str, value: T) -> Self {
        Self { name, device: name, value }
    }

    /// A member that is called by an alias of the device type `device`.
    pub const fn alias(name: &'static str, device: &'static str, value: T) -> Self {
        Self { name, device, value }
    }
}

/// The names of all members, for [`Node::NAMES`](super::Node::NAMES).
pub const fn names<T, const N: usize>(members: &[Member<T>; N]) -> [&'static str; N] {
    let (mut names, mut number) = ([""; N], 0);
    while number < N {
        names[number] = members[number].name;
        number += 1;
    }
    names
}

/// The device type of each member, for [`Node::ALIASES`](super::Node::ALIASES).
pub const fn aliases<T, const N: usize>(
    members: &[Member<T>; N],
) -> [(&'static str, &'static str); N] {
    let (mut aliases, mut number) = ([("", ""); N], 0);
    while number < N {
        aliases[number] = (members[number].name, members[number].device);
        number += 1;
    }
    aliases
}
