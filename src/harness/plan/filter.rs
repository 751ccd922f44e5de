//! Which paths somebody wants: by name, by machine.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::glob::Glob;
use crate::qemu::Between;

/// A pattern that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the pattern {:?} is no glob: {why}", beginning(pattern))]
pub struct BadPattern {
    pattern: String,
    why: String,
}

/// How many characters of a pattern a message repeats.
const MOST_SHOWN: usize = 80;

/// The pattern, cut where it would fill a screen.
fn beginning(pattern: &str) -> String {
    match pattern.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &pattern[..end]),
        None => pattern.to_owned(),
    }
}

/// A substring, a glob over the whole name, or the name itself.
#[derive(Debug, Clone)]
enum Pattern {
    Exact(String),
    Part(String),
    Glob(Glob),
}

/// What makes a pattern a glob.
pub const WILD: [char; 4] = ['*', '?', '[', '{'];

impl Pattern {
    fn new(pattern: &str) -> Result<Self, BadPattern> {
        if !pattern.contains(WILD) {
            return Ok(Self::Part(pattern.to_owned()));
        }
        let bad = |why| BadPattern { pattern: pattern.to_owned(), why };
        Ok(Self::Glob(Glob::new(pattern).map_err(bad)?))
    }

    /// What every name that matches begins with.
    fn start(&self) -> &str {
        match self {
            Self::Exact(whole) => whole,
            Self::Part(_) => "",
            Self::Glob(glob) => {
                let glob = glob.text();
                let end = glob.find(|c| c == '\\' || WILD.contains(&c));
                &glob[..end.unwrap_or(glob.len())]
            }
        }
    }

    /// Its text.
    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Part(text) => text,
            Self::Glob(glob) => glob.text(),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(whole) => whole == name,
            Self::Part(part) => name.contains(part.as_str()),
            Self::Glob(glob) => glob.matches(name),
        }
    }
}

/// What is wanted. The default wants everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    wanted: Vec<Pattern>,
    skipped: Vec<Pattern>,
    machines: Vec<Pattern>,
    /// The names that are wanted; `None` for all.
    names: Option<Arc<BTreeSet<String>>>,
    /// What is to be done between set-up and check, if that was said.
    forms: Vec<Form>,
    /// How the name of a device begins that must be on the way; none for any.
    through: Vec<String>,
}

/// What is done between set-up and check of a path: nothing, on a plain one.
pub type Form = Option<Between>;

impl Filter {
    /// Paths that match one of `wanted` (all if there is none) and none of `skipped`.
    /// Patterns are substrings, or globs over the whole name if they hold `*`, `?`, `[` or
    /// `{`; with `exact` they are names. `machines` are names `ARCH/MACHINE`, or globs, or
    /// a machine type without architecture.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn new(
        wanted: &[String],
        skipped: &[String],
        machines: &[String],
        exact: bool,
    ) -> Result<Self, BadPattern> {
        let pattern = |text: &String| match exact {
            true => Ok(Pattern::Exact(text.clone())),
            false => Pattern::new(text),
        };
        let machine = |text: &String| match Pattern::new(text)? {
            Pattern::Part(_) => Ok(Pattern::Exact(text.clone())),
            glob => Ok(glob),
        };
        Ok(Self {
            wanted: wanted.iter().map(pattern).collect::<Result<_, _>>()?,
            skipped: skipped.iter().map(pattern).collect::<Result<_, _>>()?,
            machines: machines.iter().map(machine).collect::<Result<_, _>>()?,
            names: None,
            forms: Vec::new(),
            through: Vec::new(),
        })
    }

    /// Only paths through a device whose name begins with one of these.
    pub fn through(self, devices: Vec<String>) -> Self {
        Self { through: devices, ..self }
    }

    /// Only paths of these forms. Patterns and names may name the plain ones then.
    pub fn with_forms(self, forms: Vec<Form>) -> Self {
        Self { forms, ..self }
    }

    /// The forms of paths that may be wanted: those that were asked for, or else the plain one
    /// and those that are part of a pattern or a name.
    pub fn forms(&self) -> Vec<Form> {
        if !self.forms.is_empty() {
            return self.forms.clone();
        }
        let named = |between: &Between| {
            let end = format!("@{between}");
            let names = self.names.iter().flat_map(|names| names.iter());
            self.wanted.iter().any(|pattern| pattern.text().contains(&end))
                || names.into_iter().any(|name| name.ends_with(&end))
        };
        std::iter::once(None).chain(Between::ALL.into_iter().filter(named).map(Some)).collect()
    }

    /// Only what is wanted so far and has one of these names.
    pub fn with_names(self, names: Arc<BTreeSet<String>>) -> Self {
        Self { names: Some(names), ..self }
    }

    /// Whether this machine, `ARCH/MACHINE`, is wanted.
    pub fn wants_machine(&self, name: &str) -> bool {
        let machine_type = name.split_once('/').map_or(name, |(_, machine)| machine);
        let matches = |pattern: &Pattern| match pattern {
            Pattern::Exact(whole) if !whole.contains('/') => whole == machine_type,
            pattern => pattern.matches(name),
        };
        self.machines.is_empty() || self.machines.iter().any(matches)
    }

    /// Whether this machine, `ARCH/MACHINE`, is named, and not just matched by a glob.
    pub fn names_machine(&self, name: &str) -> bool {
        let machine_type = name.split_once('/').map_or(name, |(_, machine)| machine);
        let names = |pattern: &Pattern| matches!(pattern, Pattern::Exact(whole) if whole == name || whole == machine_type);
        self.machines.iter().any(names)
    }

    /// Whether all paths are wanted, of the machines that are.
    pub fn wants_all(&self) -> bool {
        self.wanted.is_empty()
            && self.skipped.is_empty()
            && self.names.is_none()
            && self.through.is_empty()
    }

    /// Whether it is known how the names of all wanted paths begin, so that
    /// [`may_want`](Self::may_want) can say no.
    pub fn is_bound(&self) -> bool {
        let starts = |pattern: &Pattern| !pattern.start().is_empty();
        self.names.is_some() || !self.wanted.is_empty() && self.wanted.iter().all(starts)
    }

    /// Whether a path whose name begins with `start` may be wanted.
    pub fn may_want(&self, start: &str) -> bool {
        let may = |pattern: &Pattern| {
            let other = pattern.start();
            start.starts_with(other) || other.starts_with(start)
        };
        let named = |names: &BTreeSet<String>| {
            // The first one that is not before it in the alphabet.
            let from = (Bound::Included(start), Bound::Unbounded);
            names.range::<str, _>(from).next().is_some_and(|name| name.starts_with(start))
        };
        (self.wanted.is_empty() || self.wanted.iter().any(may))
            && self.names.as_ref().is_none_or(|names| named(names))
    }

    /// Whether a path of this name is wanted.
    pub fn wants_path(&self, name: &str) -> bool {
        let plain = match self.forms.is_empty() {
            true => name,
            false => plain_name(name),
        };
        let is_named = |names: &BTreeSet<String>| names.contains(name) || names.contains(plain);
        let matches = |pattern: &Pattern| pattern.matches(name) || pattern.matches(plain);
        let is_through = |node: &str| self.through.iter().any(|device| node.starts_with(device));
        self.names.as_ref().is_none_or(|names| is_named(names))
            && (self.wanted.is_empty() || self.wanted.iter().any(matches))
            && !self.skipped.iter().any(matches)
            && (self.through.is_empty() || name.split('/').any(is_through))
    }
}

/// The name of the plain path that is like that of this name.
fn plain_name(name: &str) -> &str {
    let ends = Between::ALL.map(|between| format!("@{between}"));
    ends.iter().find_map(|end| name.strip_suffix(end.as_str())).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(wanted: &[&str], skipped: &[&str], machines: &[&str], exact: bool) -> Filter {
        let own = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        Filter::new(&own(wanted), &own(skipped), &own(machines), exact).unwrap()
    }

    /// Would catch a path that runs although nobody asked for it, or the reverse.
    #[test]
    fn substrings_globs_and_names() {
        let name = "/arm/raspi2b/generic-sdhci/sdhci/sdhci-tests/registers";
        assert!(filter(&[], &[], &[], false).wants_path(name));
        assert!(filter(&["nope", "sdhci-t"], &[], &[], false).wants_path(name));
        assert!(!filter(&["nope"], &[], &[], false).wants_path(name));
        assert!(!filter(&["sdhci"], &["raspi"], &[], false).wants_path(name));
        assert!(filter(&["/arm/*/registers"], &[], &[], false).wants_path(name));
        assert!(!filter(&["arm/*/registers"], &[], &[], false).wants_path(name), "whole name");
        assert!(!filter(&["registers"], &[], &[], true).wants_path(name));
        assert!(filter(&[name], &["registers"], &[], true).wants_path(name));
        assert!(filter(&["*{registers,reset}"], &[], &[], false).wants_path(name));
    }

    /// Would catch a name that is wanted and not looked for.
    #[test]
    fn what_may_begin_a_wanted_name() {
        let globs = filter(&["/arm/*", "/a[a]rch64/virt/x", "/x/\\{y"], &[], &[], false);
        assert!(globs.is_bound());
        for start in ["/arm/", "/arm/virt/a/", "/aarch64/", "/x/", "/x/{y/"] {
            assert!(globs.may_want(start), "{start}");
        }
        assert!(!globs.may_want("/y/"));
        assert!(!filter(&["/arm/*", "sdhci"], &[], &[], false).is_bound());
        assert!(!filter(&["*/arm"], &[], &[], false).is_bound());
        let name = filter(&["/arm/virt/sdhci-pci/t"], &[], &[], true);
        assert!(name.is_bound() && name.may_want("/arm/virt/"));
        assert!(!name.may_want("/arm/virt/sdhci/") && !name.may_want("/arm/virt2/"));
    }

    /// Would catch a name of a list that is not looked for, or one that is not in it and runs.
    #[test]
    fn names_of_a_list() {
        let names = ["/arm/virt/a/t", "/x86_64/pc/b/t"].map(str::to_owned);
        let listed = filter(&["/a"], &[], &[], false).with_names(Arc::new(names.into()));
        assert!(listed.wants_path("/arm/virt/a/t") && !listed.wants_path("/arm/virt/a/tt"));
        assert!(!listed.wants_path("/x86_64/pc/b/t"), "the filter holds as well");
        assert!(listed.is_bound() && !listed.wants_all());
        for start in ["", "/arm/", "/arm/virt/a/", "/x86_64/pc/"] {
            assert!(listed.may_want(start), "{start}");
        }
        for start in ["/arm/virt/b/", "/aarch64/", "/z/", "/arm/virt/a/t/"] {
            assert!(!listed.may_want(start), "{start}");
        }
    }

    /// Would catch a form that runs although nobody asked for it, or one that cannot be asked for.
    #[test]
    fn forms_by_option_and_by_name() {
        let (plain, reset, moved) = (None, Some(Between::Reset), Some(Between::Migrate));
        let name = "/arm/virt/a/t";
        let globbed = filter(&["/arm/*/t"], &[], &[], false);
        assert_eq!(globbed.forms(), [plain]);
        assert!(globbed.wants_path(name) && !globbed.wants_path("/arm/virt/a/t@migrate"));
        let formed = globbed.with_forms(vec![reset]);
        assert_eq!(formed.forms(), [reset]);
        assert!(formed.wants_path("/arm/virt/a/t@reset"));
        let named = filter(&["/arm/virt/a/t@migrate"], &[], &[], true);
        assert_eq!(named.forms(), [plain, moved]);
        assert!(named.wants_path("/arm/virt/a/t@migrate") && !named.wants_path(name));
        let names = ["/arm/virt/a/t", "/arm/virt/b/t@reset"].map(str::to_owned);
        let listed = Filter::default().with_names(Arc::new(names.into()));
        assert_eq!(listed.forms(), [plain, reset]);
        assert!(listed.wants_path(name) && !listed.wants_path("/arm/virt/a/t@reset"));
    }

    /// Would catch a machine taken for another whose name it begins.
    #[test]
    fn machines_by_name_glob_and_type() {
        let arm = filter(&[], &[], &["arm/*"], false);
        assert!(arm.wants_machine("arm/virt") && !arm.wants_machine("aarch64/virt"));
        let virt = filter(&[], &[], &["virt"], false);
        assert!(virt.wants_machine("aarch64/virt") && !virt.wants_machine("arm/virt2"));
        let one = filter(&[], &[], &["arm/virt"], false);
        assert!(one.wants_machine("arm/virt") && !one.wants_machine("arm/virt-7.2"));
    }

    /// Would catch a bad glob that matches nothing instead of being refused.
    #[test]
    fn a_bad_glob_is_refused() {
        let bad = Filter::new(&["[z-a]".to_owned()], &[], &[], false).unwrap_err();
        assert!(bad.to_string().starts_with("the pattern \"[z-a]\" is no glob: "), "{bad}");
    }

    proptest! {
        /// Would catch a text that ends the program when it is given as a filter, what to skip
        /// or a machine.
        #[test]
        fn no_text_panics(text in "([*?{},!\\[\\]\\\\/a-c]|\\PC){0,60}", exact: bool) {
            let texts = [text];
            if let Ok(filter) = Filter::new(&texts, &texts, &texts, exact) {
                let name = "/arm/virt/a/b-tests/c";
                filter.wants_path(name);
                filter.wants_machine("arm/virt");
                prop_assert!(!filter.is_bound() || filter.may_want(""));
            }
        }
    }
}
