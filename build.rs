//! Writes the `mod` lines of the folders of content, so that a file that is dropped in is
//! part of the program, and none is silently lost.
//!
//! A folder is a module of the files in it; a folder with a `mod.rs` is one module, whose
//! further files its `mod.rs` names.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders of content, each a module of the crate.
const FOLDERS: &[&str] = &["machines", "drivers", "tests"];

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    for folder in FOLDERS {
        let mut text = String::new();
        modules(&Path::new(&root).join("src").join(folder), &mut text)?;
        fs::write(Path::new(&out).join(format!("{folder}.rs")), text)?;
    }
    Ok(())
}

/// Appends the modules of `folder` to `text`, in the order of their names.
fn modules(folder: &Path, text: &mut String) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = if path.is_dir() { path.join("mod.rs") } else { path.clone() };
        if file.is_file() {
            if file.extension().is_some_and(|extension| extension == "rs") {
                writeln!(text, "#[path = {file:?}]\npub mod {name};").map_err(io::Error::other)?;
            }
        } else if path.is_dir() {
            let shown = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&path).display();
            writeln!(text, "pub mod {name} {{\n//! The files of `{shown}`.")
                .map_err(io::Error::other)?;
            modules(&path, text)?;
            text.push_str("}\n");
        }
    }
    Ok(())
}
