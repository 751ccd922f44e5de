//! What a command line needs to suit the emulator that is there, rather than the one of the
//! report: machines of a version that is gone, and sound where nothing can play it.

use super::command_line::Adapted;
use crate::qemu::{Capabilities, Version};

/// Since when `-audio` says what devices use that name no back end.
const AUDIO: Version = Version::new(8, 2, 0);

/// Families of machines whose names end with a version, and the name of the newest.
const FAMILIES: [(&str, &str); 4] =
    [("pc-q35-", "q35"), ("pc-i440fx-", "pc"), ("virt-", "virt"), ("pseries-", "pseries")];

/// Changes the command line as far as this emulator needs it.
pub fn fit(adapted: &mut Adapted, capabilities: &Capabilities) {
    machine(adapted, capabilities);
    audio(adapted, capabilities.version);
}

/// A machine of an older version becomes the newest of its family, if it is gone.
fn machine(adapted: &mut Adapted, capabilities: &Capabilities) {
    let gone = adapted.config.machine.clone();
    let family = FAMILIES.iter().find(|(prefix, _)| gone.starts_with(prefix));
    let Some((_, newest)) = family else { return };
    if capabilities.machines.contains_key(&gone) || !capabilities.machines.contains_key(*newest) {
        return;
    }
    adapted.notes.push(format!("this QEMU has no machine {gone} any more: {newest} is used"));
    adapted.config.machine = (*newest).to_owned();
    let words = &mut adapted.config.options;
    for at in 1..words.len() {
        if matches!(&*words[at - 1], "-M" | "-machine") {
            let rest = words[at].strip_prefix(&*gone);
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(',')) {
                words[at] = format!("{newest}{rest}");
            }
        }
    }
}

/// Sound goes nowhere, unless the report says where.
fn audio(adapted: &mut Adapted, version: Version) {
    let words = &mut adapted.config.options;
    if version >= AUDIO {
        if !words.iter().any(|word| word == "-audio" || word == "-audiodev") {
            words.extend(["-audio", "none"].map(str::to_owned));
        }
        return;
    }
    // Before, it plugged in a device as well, and must say which.
    let without_model =
        words.windows(2).position(|pair| pair[0] == "-audio" && !pair[1].contains("model="));
    if let Some(at) = without_model {
        words.drain(at..at + 2);
        adapted.notes.push("-audio is left out: this QEMU needs a model with it".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::harness::reproduce::foreign::{adapt, shell};
    use crate::qemu::MachineType;

    fn fitted(line: &str, version: Version, machines: &[&str]) -> String {
        let mut adapted = adapt(&shell::split(line).unwrap(), Path::new("/nowhere"), false);
        let known = MachineType::default();
        let machines = machines.iter().map(|name| (name.to_string(), known.clone()));
        let capabilities =
            Capabilities { version, machines: machines.collect(), ..Capabilities::default() };
        fit(&mut adapted, &capabilities);
        adapted.config.options[10..].join(" ")
    }

    /// Would catch a machine that is gone and not replaced, or one that is there and is; and
    /// an option for sound that the emulator does not take.
    #[test]
    fn an_emulator_of_another_version() {
        let (old, new) = (Version::new(7, 2, 0), Version::new(11, 1, 0));
        assert_eq!(fitted("-M pc-q35-5.0,x=y", new, &["q35"]), "-M q35,x=y -audio none");
        assert_eq!(fitted("-M pc-q35-5.0", old, &["q35", "pc-q35-5.0"]), "-M pc-q35-5.0");
        assert_eq!(fitted("-M tosa", old, &["q35"]), "-M tosa");
        assert_eq!(fitted("-M x -audio none", old, &[]), "-M x");
        assert_eq!(
            fitted("-M x -audio pa,model=hda", old, &[]),
            "-M x -audio driver=none,model=hda"
        );
    }
}
