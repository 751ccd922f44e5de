//! The PCI bus of a pSeries machine. Its configuration space is reached by calls of the
//! firmware, RTAS (PAPR 7.3.4); its spaces are windows in memory.

use std::rc::Rc;

use crate::graph::{Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::pci::{PciAddress, PciBus, RootBus, SLOT, Space, Windows};
use crate::qos::registers::{Mmio, Registers, Width};
use crate::{Error, Result, driver};

/// The unit identifier of the first bridge.
const BUID: u64 = 0x0800_0000_2000_0000;
/// The CPU address of I/O port 0, and of memory address 0.
const WINDOW: u64 = 0x2000_0000_0000;
/// Ports free for BARs.
const IO: (u64, u64) = (0x1000, 0xf000);
/// Bus addresses free for BARs.
const MEMORY: (u64, u64) = (0x8000_0000, 0x8000_0000);

/// RTAS status: there is no such function.
const HARDWARE_ERROR: u32 = -1i32 as u32;

/// Indicator of a dynamic reconfiguration connector: isolation-state (PAPR 13.5.3.4).
const ISOLATION_STATE: u32 = 9001;
/// Sensor of a connector: dr-entity-sense (PAPR 13.5.3.3).
const DR_ENTITY_SENSE: u32 = 9003;
/// isolation-state: the platform may take the device away.
const ISOLATE: u32 = 0;
/// isolation-state: the guest has it.
const UNISOLATE: u32 = 1;
/// dr-entity-sense: a device is there.
const PRESENT: u32 = 1;
/// The work area of ibm,configure-connector, in bytes.
const WORK_AREA: usize = 4096;

/// The root bus of the first bridge.
pub struct PciBusSpapr {
    vm: Rc<Vm>,
    window: Mmio,
    windows: Windows,
}

impl PciBusSpapr {
    /// The bus of this machine.
    pub fn new(vm: &Rc<Vm>) -> Self {
        // PCI is little-endian also where the CPU is not.
        let window = Mmio::new(vm, WINDOW, Endian::Little);
        Self { vm: vm.clone(), window, windows: Windows::new(IO, MEMORY) }
    }

    /// Calls RTAS with 32-bit cells; returns the first `results` it gives back, of which
    /// the first is its status.
    fn rtas<const RESULTS: usize>(&self, call: &str, arguments: &[u32]) -> Result<[u32; RESULTS]> {
        let cells = self.vm.ram().alloc(4 * (arguments.len() + RESULTS), 4)?;
        for (number, &cell) in arguments.iter().enumerate() {
            cells.write_be32(4 * number, cell)?;
        }
        let returns = 4 * arguments.len();
        let (at, count) = (cells.address(), arguments.len() as u32);
        let to = vm_memory::GuestAddress(at.0 + returns as u64);
        let status = self.vm.qtest().rtas(call, count, at, RESULTS as u32, to)?;
        if status != 0 {
            return Err(Error::failed(format!("the firmware does not know the call {call}")));
        }
        let mut results = [0; RESULTS];
        for (number, result) in results.iter_mut().enumerate() {
            *result = cells.read_be32(returns + 4 * number)?;
        }
        Ok(results)
    }

    fn set_isolation(&self, at: PciAddress, state: u32) -> Result<()> {
        match self.rtas("set-indicator", &[ISOLATION_STATE, connector(at), state])? {
            [0] => Ok(()),
            [status] => Err(Error::failed(format!(
                "setting isolation-state of {at} to {state}: RTAS status {status:#x}"
            ))),
        }
    }

    /// Has the platform say all of the device that the guest must know (PAPR 13.5.3.5), call
    /// by call, and forgets it.
    fn configure_connector(&self, at: PciAddress) -> Result<()> {
        let area = self.vm.ram().alloc(WORK_AREA, WORK_AREA as u64)?;
        area.write_be32(0, connector(at))?;
        let address = u32::try_from(area.address().0)
            .map_err(|_| Error::failed("the firmware's calls take 32-bit addresses"))?;
        loop {
            match self.rtas("ibm,configure-connector", &[address, 0])? {
                [0] => return Ok(()),
                // A node, a property, or the end of one.
                [1..=4] => {}
                [status] => {
                    return Err(Error::failed(format!(
                        "ibm,configure-connector of {at}: RTAS status {status:#x}"
                    )));
                }
            }
        }
    }
}

/// The number of the connector of a slot of the first bridge, as the property
/// `ibm,drc-indexes` has it: 4 stands for a PCI slot.
fn connector(at: PciAddress) -> u32 {
    4 << 28 | u32::from(at.bus) << 8 | u32::from(at.devfn())
}

/// The address as the calls take it: the register's upper four bits come on top.
fn config_address(at: PciAddress, register: u16) -> u32 {
    let function = u32::from(at.bus) << 16 | u32::from(at.devfn()) << 8;
    let register = u32::from(register);
    (register & 0xf00) << 20 | function | register & 0xff
}

impl PciBus for PciBusSpapr {
    fn config_read(&self, at: PciAddress, register: u16, width: Width) -> Result<u32> {
        let address = config_address(at, register);
        let arguments = [address, (BUID >> 32) as u32, BUID as u32, width.bytes() as u32];
        match self.rtas("ibm,read-pci-config", &arguments)? {
            [0, value] => Ok(value),
            [HARDWARE_ERROR, _] => Ok((1u64 << (8 * width.bytes())).wrapping_sub(1) as u32),
            [status, _] => Err(Error::failed(format!(
                "reading register {register:#x} of {at}: RTAS status {:#x}",
                status
            ))),
        }
    }

    fn config_write(&self, at: PciAddress, register: u16, width: Width, value: u32) -> Result<()> {
        let address = config_address(at, register);
        let arguments = [address, (BUID >> 32) as u32, BUID as u32, width.bytes() as u32, value];
        match self.rtas("ibm,write-pci-config", &arguments)? {
            [0] => Ok(()),
            [status] => Err(Error::failed(format!(
                "writing register {register:#x} of {at}: RTAS status {status:#x}"
            ))),
        }
    }

    fn space(&self, _: Space) -> &dyn Registers {
        &self.window
    }

    fn reaches_ram(&self) -> Result<()> {
        // The table is filled by the hypercall H_PUT_TCE (PAPR 14.5.4.2) alone, which needs
        // a CPU that runs; qtest has none.
        Err(Error::skipped(
            "on pSeries a device reaches RAM only through the bridge's translation table, \
             which no qtest command can fill",
        ))
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }

    fn numbers_bridges(&self) -> bool {
        // The platform does (PAPR 7.3.4 finds all buses numbered).
        true
    }

    fn messages_reach_memory(&self) -> bool {
        false
    }

    fn takes_devices(&self) -> bool {
        true
    }

    fn plugged(&self, at: PciAddress) -> Result<()> {
        let sensed: [u32; 2] = self.rtas("get-sensor-state", &[DR_ENTITY_SENSE, connector(at)])?;
        if sensed != [0, PRESENT] {
            return Err(Error::failed(format!(
                "dr-entity-sense of {at}: RTAS status and state should be [0, {PRESENT}], but \
                 they are {sensed:?}"
            )));
        }
        self.set_isolation(at, UNISOLATE)?;
        self.configure_connector(at)
    }

    fn unplugging(&self, at: PciAddress) -> Result<()> {
        self.set_isolation(at, ISOLATE)
    }
}

impl Produces<dyn PciBus> for PciBusSpapr {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<dyn PciBus> {
        self
    }
}

impl Produces<RootBus> for PciBusSpapr {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<RootBus> {
        Rc::new(RootBus(self))
    }
}

driver!(PciBusSpapr = "pci-bus-spapr"; produces dyn PciBus, RootBus);

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a register's upper bits taken for a function, or lost (PAPR 7.3.4).
    #[test]
    fn extended_registers_have_their_upper_bits_on_top() {
        assert_eq!(config_address(PciAddress::new(0, 0), 0x10), 0x10);
        assert_eq!(config_address(PciAddress::new(4, 1), 0x3fc), 0x3000_21fc);
        let last = PciAddress { bus: 0xff, device: 0x1f, function: 7 };
        assert_eq!(config_address(last, 0xffc), 0xf0ff_fffc);
    }
}
