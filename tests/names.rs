//! That tests which QEMU's own framework has as well are called as there, letter for letter:
//! people look for these names. No emulator is needed.

use std::collections::HashSet;
use std::sync::Arc;

use qgraph::graph::Model;

/// Up to the bus, where QEMU's framework has it, and where it is here besides.
const PCI: &[&str] = &[
    "/x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus",
    "/x86_64/q35/q35-pcihost/pci-bus-pc/pci-bus",
    "/i386/pc/i440FX-pcihost/pci-bus-pc/pci-bus",
    "/i386/q35/q35-pcihost/pci-bus-pc/pci-bus",
    "/arm/virt/generic-pcihost/pci-bus-generic/pci-bus",
    "/aarch64/virt/generic-pcihost/pci-bus-generic/pci-bus",
    "/riscv32/virt/generic-pcihost/pci-bus-generic/pci-bus",
    "/riscv64/virt/generic-pcihost/pci-bus-generic/pci-bus",
    "/loongarch64/virt/generic-pcihost/pci-bus-generic/pci-bus",
    "/ppc64/pseries/spapr-pci-host-bridge/pci-bus-spapr/pci-bus",
];
/// The same of slots in memory.
const MMIO: &[&str] = &[
    "/arm/virt/virtio-mmio/virtio-bus",
    "/aarch64/virt/virtio-mmio/virtio-bus",
    "/riscv32/virt/virtio-mmio/virtio-bus",
    "/riscv64/virt/virtio-mmio/virtio-bus",
    "/x86_64/microvm/virtio-mmio/virtio-bus",
    "/i386/microvm/virtio-mmio/virtio-bus",
];
/// From the bus on.
const VIRTIO_PCI: &[&str] = &[
    "virtio-blk-pci/virtio-blk-pci-tests/hotplug",
    "virtio-blk-pci/virtio-blk-pci-tests/idx",
    "virtio-blk-pci/virtio-blk-pci-tests/msix",
    "virtio-blk-pci/virtio-blk-pci-tests/nxvirtq",
    "virtio-blk-pci/virtio-blk/virtio-blk-tests/basic",
    "virtio-blk-pci/virtio-blk/virtio-blk-tests/config",
    "virtio-blk-pci/virtio-blk/virtio-blk-tests/indirect",
    "virtio-blk-pci/virtio-blk/virtio-blk-tests/resize",
    "virtio-blk-pci/virtio/virtio-tests/nop",
    "virtio-rng-pci/virtio-rng-pci-tests/hotplug",
    "virtio-rng-pci/pci-device/pci-device-tests/nop",
    "virtio-rng-pci/virtio/virtio-tests/nop",
];
/// From the slots on.
const VIRTIO_MMIO: &[&str] = &[
    "virtio-blk-device/virtio-blk/virtio-blk-tests/basic",
    "virtio-blk-device/virtio-blk/virtio-blk-tests/config",
    "virtio-blk-device/virtio-blk/virtio-blk-tests/indirect",
    "virtio-blk-device/virtio-blk/virtio-blk-tests/resize",
    "virtio-blk-device/virtio/virtio-tests/nop",
    "virtio-rng-device/virtio/virtio-tests/nop",
];

/// Would catch a machine, bus, device, interface, suite or case that was renamed, or a path
/// that is gone.
#[test]
fn virtio_as_in_qemus_framework() {
    let model = Arc::new(Model::registered());
    let paths: HashSet<String> = model.walk(None, |_| true).map(|path| path.name()).collect();
    for (buses, tests) in [(PCI, VIRTIO_PCI), (MMIO, VIRTIO_MMIO)] {
        for bus in buses {
            for test in tests {
                let name = format!("{bus}/{test}");
                assert!(paths.contains(&name), "no path is called {name}");
            }
        }
    }
}
