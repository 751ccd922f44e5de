//! The small PC for cloud guests: no PCI, slots for virtio devices instead.

use crate::drivers::virtio::mmio::VirtioMmio;
use crate::graph::{Contains, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::qom::find;
use crate::qos::virtio::Slots;
use crate::{Error, Result, machine};

machine! {
    /// QEMU's `microvm`.
    pub struct Microvm = "x86_64/microvm", "i386/microvm";
    setup Setup::bare(RamSpec::new(0, 128 * MIB));
    contains VirtioMmio
}

/// Where it has its slots: 24 on a second interrupt controller, 8 without one (QEMU 5.2).
const SLOTS: Slots = Slots {
    base: 0xfeb0_0000,
    step: 0x200,
    count: 24,
    line: |vm, slot| match &find(vm, "ioapic")?[..] {
        [_, second] => Ok((second.clone(), slot)),
        [only] => Ok((only.clone(), 16 + slot)),
        paths => Err(Error::failed(format!("wanted one or two I/O APICs, found {paths:?}"))),
    },
};

impl Contains<VirtioMmio> for Microvm {
    fn contained(&self) -> Result<VirtioMmio> {
        Ok(VirtioMmio::new(&self.vm, SLOTS))
    }
}
