//! The reproducer of a guest: a script with the command line and the image's SHA-256, so that
//! whoever runs it knows whether it is the same image.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::guests::Guest;
use crate::harness::outcome::Outcome;
use crate::qemu::Emulator;
use crate::qemu::command_line::quote;

/// The script that starts the guest of `outcome` with these arguments. Its exit status is that of
/// QEMU.
pub(super) fn guest_script(
    outcome: &Outcome,
    emulator: &Emulator,
    guest: &Guest,
    words: &[String],
) -> String {
    let comment = |text: &str| text.lines().map(|line| format!("# {line}\n")).collect::<String>();
    let image = guest.image.to_string_lossy();
    let capabilities = &emulator.capabilities;
    let mut script =
        String::from("#!/bin/sh\n# A guest of qgraph. `QEMU=… sh FILE` tries another emulator.\n");
    script.push_str(&comment(&outcome.name));
    script.push_str(&comment(&format!(
        "{}: {}",
        outcome.verdict.word(),
        outcome.verdict.message()
    )));
    script.push_str(&comment(&format!(
        "on {} {} {}",
        emulator.path.display(),
        capabilities.version,
        capabilities.package
    )));
    script.push_str(&comment(&format!("read from {}", guest.source.display())));
    match sha256(&guest.image) {
        Ok(sum) => script.push_str(&format!(
            "IMAGE={image}\nSUM={sum}\n\
             test \"$(sha256sum < \"$IMAGE\")\" = \"$SUM  -\" ||\n    \
             echo \"$IMAGE is another image than that of the failure\" >&2\n",
            image = quote(&image)
        )),
        Err(e) => script.push_str(&comment(&format!("the image {image} cannot be read: {e}"))),
    }
    let program = quote(&emulator.path.to_string_lossy());
    script.push_str(&format!("QEMU=${{QEMU:-{program}}}\nexec \"$QEMU\""));
    for word in words {
        script.push(' ');
        script.push_str(&quote(word));
    }
    script.push('\n');
    script
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Returns the kernel's word if the file cannot be read.
fn sha256(file: &Path) -> io::Result<String> {
    let (mut file, mut sum) = (File::open(file)?, Sha256::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(sum.finalize())),
            length => sum.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a sum that the program `sha256sum` does not have.
    #[test]
    fn the_sum_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let sum = sha256(file.path()).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(sha256(Path::new("/absent")).is_err());
    }
}
