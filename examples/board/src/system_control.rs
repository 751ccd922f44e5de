//! A device of one's own on a machine of qgraph: here system control port A, which every PC of
//! QEMU has at port 0x92 and of which qgraph knows nothing.

use std::rc::Rc;

use qgraph::Result;
use qgraph::graph::Contains;
use qgraph::machines::x86::pc::Pc;
use qgraph::machines::x86::q35::Q35;
use qgraph::qemu::Vm;
use qgraph::qos::registers::{Ports, Registers, RegistersExt};

/// Bit 1: address line 20 is not forced to 0.
const A20: u8 = 0x02;

/// The port.
pub struct SystemControl(Ports);

impl SystemControl {
    fn of(vm: &Rc<Vm>) -> Self {
        Self(Ports::new(vm, 0x92))
    }

    /// Its only register.
    pub fn registers(&self) -> &dyn Registers {
        &self.0
    }
}

impl Contains<SystemControl> for Pc {
    fn contained(&self) -> Result<SystemControl> {
        Ok(SystemControl::of(self.vm()))
    }
}

impl Contains<SystemControl> for Q35 {
    fn contained(&self) -> Result<SystemControl> {
        Ok(SystemControl::of(self.vm()))
    }
}

// The machines are declared in qgraph; these are further edges of theirs.
qgraph::driver!(SystemControl = "system-control");
qgraph::edge!(Pc; contains SystemControl);
qgraph::edge!(Q35; contains SystemControl);

/// Would catch a port that forgets whether line 20 is open.
fn a20(control: &SystemControl, _: &Rc<Vm>) -> Result<()> {
    for value in [A20, 0, A20] {
        control.registers().write8(0, value)?;
        assert_eq!(control.registers().read8(0)?, value);
    }
    Ok(())
}

qgraph::tests!(SystemControl, "system-control-tests": a20);
