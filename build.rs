//! Writes the `mod` lines of the folders that hold one file a thing, so that a file that
//! is dropped in is part of the program, and none is silently lost.

use std::path::Path;
use std::{env, fs, io};

/// Folders of content, each a module.
const FOLDERS: &[&str] = &["machines", "drivers", "tests"];

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    for folder in FOLDERS {
        let sources = Path::new(&root).join("src").join(folder);
        println!("cargo::rerun-if-changed={}", sources.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(&sources)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
        files.sort();
        let mut text = String::new();
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("#[path = {file:?}]\npub mod {name};\n"));
        }
        fs::write(Path::new(&out).join(format!("{folder}.rs")), text)?;
    }
    Ok(())
}
