//! What many paths have in common that are only in one of two runs: a machine, a device, a
//! test. One line for each says more than a thousand names.

use std::collections::{BTreeMap, HashSet};

/// Something of which one of the runs has no path at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The machine, `ARCH/MACHINE`.
    Machine(String),
    /// The node, without its variant.
    Node(String),
    /// The test, `SUITE/CASE`.
    Test(String),
    /// The path alone; all it is made of is on others.
    Path(String),
}

/// The parts of a name, `/ARCH/MACHINE/NODE/…/SUITE/CASE`, the largest first.
fn parts_of(name: &str) -> Vec<Part> {
    let words: Vec<&str> = name.trim_start_matches('/').split('/').collect();
    let nodes_end = words.len().saturating_sub(2).max(2);
    let mut parts = Vec::new();
    if let [arch, machine, ..] = words[..] {
        parts.push(Part::Machine(format!("{arch}/{machine}")));
    }
    let nodes = words.get(2..nodes_end).unwrap_or_default().iter();
    parts.extend(nodes.map(|word| Part::Node(word.split(':').next().unwrap_or(word).to_owned())));
    if let Some(test) = words.get(nodes_end..).filter(|test| !test.is_empty()) {
        parts.push(Part::Test(test.join("/")));
    }
    parts
}

/// What the paths of `only` have that no path of `others` has, and how many of them have it.
/// Each path counts for its largest such part.
pub fn parts<'a>(
    only: impl Iterator<Item = &'a str>,
    others: impl Iterator<Item = &'a str>,
) -> BTreeMap<Part, usize> {
    let there: HashSet<Part> = others.flat_map(parts_of).collect();
    let mut counts = BTreeMap::new();
    for name in only {
        let missing = parts_of(name).into_iter().find(|part| !there.contains(part));
        let part = missing.unwrap_or_else(|| Part::Path(name.to_owned()));
        *counts.entry(part).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a lost machine that is told as a thousand paths, and a lost device that is
    /// taken for the loss of its machine.
    #[test]
    fn the_largest_part_that_is_missing() {
        let old = [
            "/a/m/i2c/tmp105/tmp105-tests/reset",
            "/a/m/i2c/tmp105:two/tmp105-tests/reset",
            "/a/n/i2c/ds1338/ds1338-tests/set",
            "/a/n/i2c/ds1338/ds1338-tests/get",
            "/a/n/i2c/sd/sd-tests/get",
        ];
        let new = ["/a/n/i2c/ds1338/ds1338-tests/set", "/a/n/i2c:two/sd/sd-tests/get"];
        let counted = parts(old.into_iter().filter(|it| !new.contains(it)), new.into_iter());
        let expected = [
            (Part::Machine("a/m".into()), 2),
            (Part::Test("ds1338-tests/get".into()), 1),
            (Part::Path("/a/n/i2c/sd/sd-tests/get".into()), 1),
        ];
        assert_eq!(counted.into_iter().collect::<Vec<_>>(), expected);
        let gone = parts(["/a/n/i2c/tmp105/t/c"].into_iter(), new.into_iter());
        assert_eq!(gone.into_keys().collect::<Vec<_>>(), [Part::Node("tmp105".into())]);
        assert_eq!(parts(["odd"].into_iter(), [].into_iter()).len(), 1);
    }
}
