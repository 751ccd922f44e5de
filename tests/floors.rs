//! The floors of ARCHITECTURE.md: a module uses only what stands before it.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate, lowest first.
const FLOORS: &[&str] = &[
    "files", "protocol", "qemu", "guests", "graph", "qos", "drivers", "machines", "tests",
    "harness", "cli",
];

/// All Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the tree");
    let paths = entries.map(|entry| entry.expect("an entry of the folder").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The modules of the crate that `text` names; macros are named alike and are none.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (!rest[end..].starts_with('!')).then_some(&rest[..end])
    })
}

/// Would catch an import that goes up, such as the graph's of a driver.
#[test]
fn nothing_uses_what_stands_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floor = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    let mut seen = 0;
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).expect("below src");
        let module = inside.iter().next().expect("a name").to_string_lossy();
        let Some(own) = floor(module.trim_end_matches(".rs")) else { continue };
        let text = fs::read_to_string(&path).expect("a source file");
        for name in named(&text) {
            let Some(other) = floor(name) else { continue };
            assert!(other <= own, "{} uses {name}, which stands above {module}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 500, "only {seen} uses were found: the test looks at the wrong files");
}

/// Would catch a folder of the crate that the test does not look at.
#[test]
fn every_module_has_a_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = fs::read_dir(root).expect("the sources");
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!entry.path().is_dir() || FLOORS.contains(&&*name), "src/{name} has no floor");
    }
}
