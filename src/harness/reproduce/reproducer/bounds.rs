//! What a reproducer may ask for: whoever wrote it may not have been qgraph.

use super::{Action, Reproducer};
use crate::harness::reproduce::recorder::LIMIT;

/// The largest file, in bytes: what a recorder keeps, in base64, with the answers, twice.
pub(super) const MOST_BYTES: u64 = 256 << 20;
/// The most memory of a machine, and the largest image, in bytes.
const MOST_MEMORY: u64 = 1 << 40;
/// The most images, folders and sockets, and words of the command line.
const MOST_WORDS: usize = 10_000;
/// The longest word of the command line, in bytes; the kernel takes no longer one.
const MOST_WORD: usize = 128 << 10;

/// Makes sure that nothing in it takes more memory than there can be.
///
/// # Errors
/// Says what does.
pub(super) fn check(reproducer: &Reproducer) -> Result<(), String> {
    let config = &reproducer.about.config;
    let (ram, images) = (&config.ram, &config.images);
    let memory = images.iter().map(|image| image.size).chain([ram.size]);
    let altogether = memory.fold(0u64, u64::saturating_add);
    if altogether > MOST_MEMORY {
        return Err(format!("its machine has {altogether} bytes of memory and images"));
    }
    if ram.base.checked_add(ram.size).is_none() {
        return Err(format!("its machine has its memory at {:#x}, and no end of it", ram.base));
    }
    let words = config.options.iter().chain([&config.machine, &config.properties]);
    let names = config.images.iter().map(|image| image.name);
    let names = names.chain(config.folders.iter().map(|folder| folder.name));
    let names = names.chain(config.sockets.iter().flat_map(|it| [it.name, it.by_hand]));
    let (mut count, mut longest) = (0, 0);
    for word in words.map(String::as_str).chain(names) {
        (count, longest) = (count + 1, longest.max(word.len()));
    }
    if count > MOST_WORDS || longest > MOST_WORD {
        return Err(format!("its command line has {count} words, of up to {longest} bytes"));
    }
    for step in &reproducer.steps {
        let (name, offset, length) = match step.action() {
            Action::ReadImage(name, offset, length) => (name, offset, length),
            Action::WriteImage(name, offset, bytes) => (name, offset, bytes.len()),
            _ => continue,
        };
        // That there is no such image is an answer like others.
        let size = images.iter().find(|image| image.name == name).map_or(0, |image| image.size);
        let end = offset.checked_add(length as u64);
        if length > LIMIT || end.is_none_or(|end| end > MOST_MEMORY) {
            let shown: String = step.text.chars().take(100).collect();
            return Err(format!(
                "`{shown}`: the image has {size} bytes, and up to {LIMIT} are moved at once"
            ));
        }
    }
    Ok(())
}
