//! The description of this computer for reports: its CPUs, and the parameters of KVM.

use std::path::Path;

use crate::files::bounded;

/// How much of a file is read, in bytes.
const MOST: u64 = 1 << 20;

fn text(file: &Path) -> String {
    let bytes = bounded::read(file, MOST).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What `/proc/cpuinfo` says of the first CPU under this name; empty if nothing.
fn of_cpu(info: &str, name: &str) -> String {
    let mut values = info.lines().filter_map(|line| line.split_once(':'));
    let value = values.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    value.unwrap_or_default().to_owned()
}

/// The model of the CPUs, their microcode, and whether they are those of a virtual machine.
pub(super) fn cpu() -> String {
    in_words(&text(Path::new("/proc/cpuinfo")))
}

fn in_words(info: &str) -> String {
    let mut words = vec![of_cpu(info, "model name")];
    let microcode = of_cpu(info, "microcode");
    if !microcode.is_empty() {
        words.push(format!("microcode {microcode}"));
    }
    if of_cpu(info, "flags").split(' ').any(|flag| flag == "hypervisor") {
        words.push("in a virtual machine".to_owned());
    }
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

/// The flags of the CPUs, as the kernel names them.
pub(super) fn cpu_flags() -> String {
    let info = text(Path::new("/proc/cpuinfo"));
    let flags = of_cpu(&info, "flags");
    if flags.is_empty() { of_cpu(&info, "Features") } else { flags }
}

/// The parameters of KVM's modules that are loaded, by their names.
pub(super) fn kvm_parameters() -> String {
    let mut words = Vec::new();
    for module in ["kvm", "kvm_intel", "kvm_amd"] {
        let folder = Path::new("/sys/module").join(module).join("parameters");
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (name, value) = (entry.file_name(), text(&entry.path()));
            words.push(format!("{module}.{}={}", name.to_string_lossy(), value.trim()));
        }
    }
    words.sort();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a virtual machine taken for a computer, and a value of another key.
    #[test]
    fn a_cpu_in_words() {
        let info = "processor\t: 0\nmodel name\t: A: B\nmicrocode\t: 0x1\nflags\t\t: fpu hypervisor\n\n\
                    processor\t: 1\nmodel name\t: C\n";
        assert_eq!(in_words(info), "A: B, microcode 0x1, in a virtual machine");
        assert_eq!(in_words("flags : not-hypervisor\n"), "");
    }
}
