//! Any PCI device type that a user can plug in, of which nothing is known but what the emulator
//! says: what its properties name is made from their kinds.

use std::rc::Rc;

use crate::graph::{DeviceType, PlugArgs, PluggedIn, Produces, Site};
use crate::qemu::{Image, MIB, Vm};
use crate::qos::pci::{Bar, PciDevice, PciFunction, RootBus, regs};
use crate::{Result, driver, plugged_in};

/// A PCI device of any type.
pub struct PciCard {
    vm: Rc<Vm>,
    device: PciDevice,
    ty: DeviceType,
}

/// The device's name on the command line, from which those of its buses are made.
pub const ID: &str = "card";
/// A disk, for devices that want one or have a bus for one.
pub(in crate::drivers) const DISK: Image = Image { name: "card-disk", size: 16 * MIB };
/// The back end of a block device with that disk.
const DRIVE: &str = "-drive if=none,id=card-drive,format=raw,file={card-disk}";

/// What is plugged into a bus that devices of some types have, so that they have something to
/// do: the types, each of which may end in `*`, what must be there before, and the device.
const COMPANIONS: &[(&[&str], &str, &str)] = &[
    (
        &[
            "am53c974",
            "dc390",
            "lsi53c810",
            "lsi53c895a",
            "megasas*",
            "mptsas1068",
            "pvscsi",
            "virtio-scsi-pci*",
        ],
        DRIVE,
        "scsi-hd,drive=card-drive,bus=card.0",
    ),
    (
        &["ahci", "ich9-ahci", "piix?-ide*", "cmd646-ide", "via-ide", "sii3112"],
        DRIVE,
        "ide-hd,drive=card-drive,bus=card.0",
    ),
    (
        &["*-usb-uhci*", "*-usb-ehci*", "usb-ehci", "pci-ohci", "*-xhci"],
        DRIVE,
        "usb-storage,drive=card-drive,bus=card.0",
    ),
    (&["*intel-hda"], "-audiodev none,id=card-audio", "hda-duplex,audiodev=card-audio,bus=card.0"),
    (
        &["virtio-serial-pci*"],
        "-chardev null,id=card-port",
        "virtserialport,chardev=card-port,bus=card.0",
    ),
    (&["sdhci-pci"], DRIVE, "sd-card,drive=card-drive,bus=sd-bus"),
    (&["tpci200"], "", "ipoctal232,bus=card.0"),
];

/// Types of which no device is plugged in, and why.
const LEFT_OUT: &[(&str, &str)] = &[(
    "ivshmem-doorbell",
    "it waits for its server before QEMU starts, and spins for ever if its chardev is null",
)];

/// Properties without which devices of some types do not start.
const NEEDED: &[(&[&str], &str)] = &[
    (&["pci-bridge*"], "chassis_nr=1"),
    (&["pxb"], "bus_nr=64"),
    (&["vhost-vsock-pci*"], "guest-cid=3"),
];

/// Types that are memory, for which there must be room in the machine.
const MEMORY: &[&str] = &["virtio-mem-pci", "virtio-pmem-pci"];

impl PciCard {
    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The function.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// Its type.
    pub fn ty(&self) -> &DeviceType {
        &self.ty
    }

    /// How many base address registers its header has.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn bar_count(&self) -> Result<u8> {
        let layout = self.device.config_read8(regs::HEADER_TYPE)? & regs::HEADER_LAYOUT;
        Ok(if layout == 0 { 6 } else { 2 })
    }

    /// All its BARs, by number and mapped, but those that are larger than the bus's windows or do
    /// not behave like BARs. The function may be a bus master then.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or the function cannot be enabled.
    pub fn bars(&self) -> Result<Vec<(u8, Rc<Bar>)>> {
        let (mut bars, mut number) = (Vec::new(), 0);
        let count = self.bar_count()?;
        while number < count {
            // What does not behave like a BAR is told by the suite of all functions.
            let size = self.device.bar_size(number).ok().flatten();
            if size.is_some()
                && let Ok(bar) = self.device.map_bar(number)
            {
                bars.push((number, bar));
            }
            number += if size.is_some_and(|size| size.is_64) { 2 } else { 1 };
        }
        self.device.enable()?;
        Ok(bars)
    }
}

/// Whether `ty` is like `pattern`, in which `*` stands for any text and `?` for a character.
fn is_like(ty: &str, pattern: &str) -> bool {
    match (pattern.chars().next(), ty.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => {
            let rest = is_like(ty, &pattern[1..]);
            rest || first.is_some_and(|first| is_like(&ty[first.len_utf8()..], pattern))
        }
        (Some(wanted), Some(first)) if wanted == '?' || wanted == first => {
            is_like(&ty[first.len_utf8()..], &pattern[wanted.len_utf8()..])
        }
        _ => false,
    }
}

/// Words of a command line, one group after the other.
#[derive(Default)]
pub(in crate::drivers) struct Words(pub Vec<String>);

impl Words {
    /// Adds words that are not there yet.
    pub fn add(&mut self, words: impl Into<String>) {
        let words = words.into();
        // Two properties may want the same back end.
        if !words.is_empty() && !self.0.contains(&words) {
            self.0.push(words);
        }
    }
}

/// What a property of this name and kind gets: options that come before, and the value. `None`
/// if it is left as it is.
pub(in crate::drivers) fn back_end(
    device: &DeviceType,
    property: &str,
    kind: &str,
) -> Option<(String, String)> {
    let id = format!("card-{property}");
    let object = |what: &str| Some((format!("-object {what},id={id}"), id.clone()));
    match (kind, property) {
        ("drive", _) => Some((DRIVE.to_owned(), "card-drive".to_owned())),
        ("netdev", _) => Some((format!("-netdev hubport,id={id},hubid=0"), id)),
        ("chardev", _) => Some((format!("-chardev null,id={id}"), id)),
        ("audiodev", _) => Some((format!("-audiodev none,id={id}"), id)),
        ("memory-backend", "memdev" | "pmrdev" | "lsa") => {
            object("memory-backend-ram,size=16M,share=on")
        }
        ("can-bus", _) => object("can-bus"),
        ("cryptodev-backend", _) => object("cryptodev-backend-builtin"),
        ("ipmi-bmc", _) if device.is_beside("ipmi-bmc-sim") => {
            Some((format!("-device ipmi-bmc-sim,id={id}"), id))
        }
        ("str", "fsdev") => Some((format!("-fsdev synth,id={id}"), id)),
        ("str", "mount_tag" | "tag") => Some((String::new(), "qgraph".to_owned())),
        ("str", "serial") if device.takes("drive").is_some() => {
            Some((String::new(), "qgraph".to_owned()))
        }
        _ => None,
    }
}

impl PluggedIn for PciCard {
    type Bus = RootBus;
    const BUS: &'static str = "PCI";

    fn args(device: &DeviceType) -> Result<PlugArgs, &'static str> {
        if let Some((_, why)) = LEFT_OUT.iter().find(|(ty, _)| device.ty == **ty) {
            return Err(why);
        }
        let mut before = Words::default();
        // A write that turns the machine off does not end QEMU.
        before.add("-no-shutdown");
        let mut properties = format!("id={ID},bus={{bus}},addr={{addr}}");
        for takes in &device.takes {
            if let Some((options, value)) = back_end(device, &takes.property, &takes.kind) {
                before.add(options);
                properties.push_str(&format!(",{}={value}", takes.property));
            }
        }
        for (types, needed) in NEEDED {
            if types.iter().any(|pattern| is_like(&device.ty, pattern)) {
                properties.push_str(&format!(",{needed}"));
            }
        }
        if MEMORY.iter().any(|ty| device.ty == **ty) {
            before.add("-m slots=2,maxmem=1G");
        }
        let mut after = String::new();
        for (types, options, companion) in COMPANIONS {
            let (name, _) = companion.split_once(',').unwrap_or((companion, ""));
            if types.iter().any(|pattern| is_like(&device.ty, pattern)) && device.is_beside(name) {
                before.add(*options);
                after = format!("-device {companion}");
            }
        }
        let before = before.0.join(" ");
        let images: &[Image] = if before.contains("{card-disk}") { &[DISK] } else { &[] };
        Ok(PlugArgs { before, properties, after, images })
    }

    fn attach(bus: Rc<RootBus>, site: &Site, device: &DeviceType) -> Result<Self> {
        let function = PciDevice::plugged(&bus.0, site)?;
        function.enable()?;
        Ok(Self { vm: site.vm.clone(), device: function, ty: device.clone() })
    }
}

impl Produces<PciFunction> for PciCard {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let device = self.device.clone();
        Rc::new(PciFunction { device, identity: None, mapped: Vec::new() })
    }
}

driver!(PciCard = "pci-card"; produces PciFunction);
plugged_in!(PciCard);

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a disk that is plugged into a device without a bus, or into none.
    #[test]
    fn types_are_told_by_patterns() {
        for (ty, pattern) in [
            ("piix3-ide-xen", "piix?-ide*"),
            ("ich9-usb-uhci3", "*-usb-uhci*"),
            ("intel-hda", "*intel-hda"),
            ("ahci", "ahci"),
        ] {
            assert!(is_like(ty, pattern), "{ty} {pattern}");
        }
        for (ty, pattern) in
            [("ahcis", "ahci"), ("ahc", "ahci"), ("x", ""), ("piix-ide", "piix?-ide")]
        {
            assert!(!is_like(ty, pattern), "{ty} {pattern}");
        }
    }
}
