//! The UART of Cadence in AMD's Zynq (Zynq-7000 technical reference manual, UG585, chapter 19 and
//! appendix B.33).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Loopback, Profile, Uart};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// A register of appendix B.33.
const fn register(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("B.33")
}

/// Control. Three of its bits reset something, two begin and end a break.
const CONTROL: Register<u32> = register("Control_reg0", 0x00).reset(0x128).kept(0x3c).acts(0x1c3);
/// Mode.
const MODE: Register<u32> = register("mode_reg0", 0x04).reset(0).kept(0x3ff);
/// Interrupt enable and disable: ones set and clear those of the mask.
const ENABLE: Register<u32> = register("Intrpt_en_reg0", 0x08).write_only().side_effect();
const DISABLE: Register<u32> = register("Intrpt_dis_reg0", 0x0c).write_only().side_effect();
/// Interrupt mask: a one lets it through.
const MASK: Register<u32> = register("Intrpt_mask_reg0", 0x10).reset(0).read_only();
/// Interrupt status; a one clears.
const STATUS: Register<u32> = register("Chnl_int_sts_reg0", 0x14).volatile(0x1fff).side_effect();
/// Baud rate; zero is none.
const BAUD: Register<u32> = register("Baud_rate_gen_reg0", 0x18)
    .reset(0x28b)
    .kept(0xffff)
    .values(&[0x0001, 0x028b, 0x5555, 0xaaaa, 0xffff]);
/// Timeout of the receiver, in four bits' time; zero is none.
const TIMEOUT: Register<u32> = register("Rcvr_timeout_reg0", 0x1c).reset(0).kept(0xff);
/// Trigger level of the receiver.
const RECEIVE_LEVEL: Register<u32> =
    register("Rcvr_FIFO_trigger_level0", 0x20).reset(0x20).kept(0x3f);
/// Modem control.
const MODEM: Register<u32> = register("Modem_ctrl_reg0", 0x24).reset(0).kept(0x23);
/// FIFOs and channel.
const CHANNEL: Register<u32> =
    register("Channel_sts_reg0", 0x2c).reset(0x0a).undefined(0x4000).read_only();
/// The bytes that are sent and received.
const FIFO: Register<u32> = register("TX_RX_FIFO0", 0x30).read_effect().side_effect();
/// Divider of the baud rate; less than four is not accepted.
const DIVIDER: Register<u32> = register("Baud_rate_divider_reg0", 0x34)
    .reset(0x0f)
    .kept(0xff)
    .values(&[0x04, 0x0f, 0x55, 0xaa, 0xff]);
/// Flow delay.
const FLOW_DELAY: Register<u32> = register("Flow_delay_reg0", 0x38).reset(0).kept(0x3f);
/// Trigger level of the transmitter.
const TRANSMIT_LEVEL: Register<u32> =
    register("Tx_FIFO_trigger_level0", 0x44).reset(0x20).kept(0x3f);

/// All registers but the status of a modem.
const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL,
    &MODE,
    &ENABLE,
    &DISABLE,
    &MASK,
    &STATUS,
    &BAUD,
    &TIMEOUT,
    &RECEIVE_LEVEL,
    &MODEM,
    &CHANNEL,
    &FIFO,
    &DIVIDER,
    &FLOW_DELAY,
    &TRANSMIT_LEVEL,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &[
            "Control_reg0",
            "mode_reg0",
            "Rcvr_timeout_reg0",
            "Rcvr_FIFO_trigger_level0",
            "Modem_ctrl_reg0",
            "Channel_sts_reg0",
            "Flow_delay_reg0",
            "Tx_FIFO_trigger_level0",
        ],
        &[Rule::ReadOnly],
        "QEMU's cadence_uart keeps what is written to reserved bits",
    ),
    Fault::new(
        &["mode_reg0", "Rcvr_timeout_reg0", "Modem_ctrl_reg0", "Flow_delay_reg0"],
        &[Rule::MachineReset],
        "QEMU's cadence_uart does not reset all of its registers",
    ),
];

/// Control_reg0: FIFOs are emptied; receiver and transmitter are on.
const EMPTY: u32 = 3;
const READY: u32 = 1 << 2 | 1 << 4;
/// mode_reg0: no parity, eight bits; output is input.
const NO_PARITY: u32 = 4 << 3;
const LOCAL_LOOPBACK: u32 = 2 << 8;
/// Interrupts: as many bytes as the level says, no more of them for a time; all were sent; a byte
/// was lost.
const RECEIVED: u32 = 1 << 0 | 1 << 8;
const SENT: u32 = 1 << 3;
const OVERRUN: u32 = 1 << 5;
/// Channel_sts_reg0: the receive FIFO is empty or full; the transmit FIFO is full.
const RECEIVE_EMPTY: u32 = 1 << 1;
const RECEIVE_FULL: u32 = 1 << 2;
const TRANSMIT_FULL: u32 = 1 << 4;

/// QEMU's `cadence_uart`.
pub struct CadenceUart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl CadenceUart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Uart for CadenceUart {
    fn profile(&self) -> Profile {
        Profile {
            shallow: Some((16, "QEMU's cadence_uart holds 16 bytes, and the one of Zynq 64")),
            loopback: Some(Loopback::Closed),
            levels: &[1, 2, 3, 8, 16, 32, 63],
            has_timeout: true,
            reports_overrun: true,
            sent_is_level: true,
            ..Profile::of(64)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(DISABLE, 0x1fff)?;
        registers.set(MODE, NO_PARITY)?;
        registers.set(TIMEOUT, 0)?;
        registers.set(RECEIVE_LEVEL, 1)?;
        registers.set(CONTROL, READY | EMPTY)?;
        wait_until(&self.vm, "the end of a reset of the FIFOs", || {
            Ok(registers.get(CONTROL)? & EMPTY == 0)
        })?;
        registers.set(STATUS, 0x1fff)
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(CHANNEL)? & TRANSMIT_FULL == 0)
    }

    fn has_data(&self) -> Result<bool> {
        Ok(self.registers().get(CHANNEL)? & RECEIVE_EMPTY == 0)
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(FIFO, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let data = self.registers().get(FIFO)?;
        // Its interrupt stays until it is cleared (19.3.3).
        self.registers().set(STATUS, RECEIVED)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("TX_RX_FIFO0 is {data:#x}")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        self.registers().set(DISABLE, 0x1fff)?;
        match event {
            None => Ok(()),
            Some(Event::Received) => self.registers().set(ENABLE, RECEIVED),
            Some(Event::Sent) => self.registers().set(ENABLE, SENT),
        }
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        let mask = registers.get(MASK)?;
        let wanted = if event == Event::Sent { SENT } else { RECEIVED };
        match mask & !wanted {
            0 => Ok(registers.get(STATUS)? & mask != 0),
            others => Err(Error::failed(format!("Intrpt_mask_reg0 has {others:#x} as well"))),
        }
    }

    fn set_loopback(&self, is_on: bool) -> Result<()> {
        let mode = if is_on { LOCAL_LOOPBACK } else { 0 };
        self.registers().set(MODE, NO_PARITY | mode)
    }

    fn set_level(&self, level: usize) -> Result<()> {
        self.registers().set(RECEIVE_LEVEL, level as u32)?;
        self.registers().set(TIMEOUT, if level > 2 { 10 } else { 0 })
    }

    fn is_full(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(CHANNEL)? & RECEIVE_FULL != 0))
    }

    fn take_overrun(&self) -> Result<bool> {
        let is_there = self.registers().get(STATUS)? & OVERRUN != 0;
        self.registers().set(STATUS, OVERRUN)?;
        Ok(is_there)
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for CadenceUart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for CadenceUart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("UG585", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for CadenceUart {
    const QOM_TYPES: &'static [&'static str] = &["cadence_uart"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(CadenceUart = "cadence_uart"; produces dyn Uart, RegisterBlock);
discovered!(CadenceUart);
