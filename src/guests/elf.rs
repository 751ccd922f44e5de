//! For which architecture an image is, by its ELF header, and whether it is started by Multiboot.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::guest::Way;

/// How many bytes of a file are read: Multiboot's header is among the first 8192.
const READ: u64 = 8192;
/// Multiboot's magic number; see the Multiboot Specification 0.6.96, 3.1.2.
const MULTIBOOT: [u8; 4] = 0x1bad_b002u32.to_le_bytes();

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    /// The architectures whose emulators run it.
    pub arches: Vec<&'static str>,
    /// How it is started.
    pub way: Way,
}

/// What the file is; `None` if it is no ELF file, or none of a known architecture.
pub(super) fn kind(file: &Path) -> Option<Kind> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(READ).read_to_end(&mut bytes).ok()?;
    kind_of(&bytes)
}

fn kind_of(bytes: &[u8]) -> Option<Kind> {
    // ELF's identification and header; see the System V ABI, chapter 4.
    let [b'\x7f', b'E', b'L', b'F', class, data, ..] = *bytes else { return None };
    let machine: [u8; 2] = bytes.get(18..20)?.try_into().ok()?;
    let machine = if data == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    let arches: &[&str] = match (machine, class) {
        (3, _) => &["i386", "x86_64"],
        (62, _) => &["x86_64"],
        (40, _) => &["arm"],
        (183, _) => &["aarch64"],
        (20, _) => &["ppc"],
        (21, _) => &["ppc64"],
        (22, _) => &["s390x"],
        (243, 1) => &["riscv32"],
        (243, _) => &["riscv64"],
        (258, _) => &["loongarch64"],
        (4, _) => &["m68k"],
        _ => return None,
    };
    let is_x86 = matches!(machine, 3 | 62);
    let has_header = memchr::memmem::find(bytes, &MULTIBOOT).is_some();
    let way = if is_x86 && has_header { Way::Multiboot } else { Way::Kernel };
    Some(Kind { arches: arches.to_vec(), way })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(class: u8, data: u8, machine: [u8; 2], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, data];
        bytes.resize(18, 0);
        bytes.extend(machine);
        bytes.extend(rest);
        bytes
    }

    /// Would catch an image that is run on another architecture, and a header read in the wrong
    /// byte order.
    #[test]
    fn architectures() {
        let pc = kind_of(&image(1, 1, [3, 0], &MULTIBOOT)).unwrap();
        assert_eq!((&*pc.arches, pc.way), (&["i386", "x86_64"][..], Way::Multiboot));
        let power = kind_of(&image(2, 2, [0, 21], &[])).unwrap();
        assert_eq!((&*power.arches, power.way), (&["ppc64"][..], Way::Kernel));
        assert_eq!(kind_of(&image(1, 1, [243, 0], &[])).unwrap().arches, ["riscv32"]);
        assert_eq!(kind_of(b"\x7fELF"), None);
        assert_eq!(kind_of(b"#!/bin/sh\n"), None);
        assert_eq!(kind_of(&image(1, 1, [255, 255], &[])), None);
    }
}
