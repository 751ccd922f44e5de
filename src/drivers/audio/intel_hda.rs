//! Intel's High Definition Audio controllers (High Definition Audio Specification, revision 1.0a),
//! with a codec that plays and records at address 0. The variant `wav` adds one at address 1 that
//! plays into a file, the variant `micro` one at address 2.

use std::rc::Rc;

use crate::graph::{Addition, Consumes, Member, Produces, QemuArgs, Site, Variant};
use crate::qemu::Vm;
use crate::qos::pci::{PciBus, PciFunction, PciPlug};
use crate::qos::registers::{AnyRegister, Register, RegisterBlock, Registers, RegistersExt, Width};
use crate::qos::sound::{WAV, plays_into_file};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

const MEMBERS: [Member<()>; 2] = [Member::new("intel-hda", ()), Member::new("ich9-intel-hda", ())];

/// Global Capabilities: how many streams there are.
pub const GCAP: Register<u16> =
    Register::new("GCAP", 0x00).section("3.3.2").reset(0x4401).read_only();
/// Global Control: bit 0 is the reset, low-active.
pub const GCTL: Register<u32> = Register::new("GCTL", 0x08).section("3.3.7");
/// State Change Status: a bit a codec.
pub const STATESTS: Register<u16> = Register::new("STATESTS", 0x0e).section("3.3.9");
/// Interrupt Control: a bit a stream; bit 30 the controller, bit 31 all.
pub const INTCTL: Register<u32> =
    Register::new("INTCTL", 0x20).section("3.3.14").reset(0).kept(0xc000_00ff);
/// Interrupt Status.
pub const INTSTS: Register<u32> = Register::new("INTSTS", 0x24).section("3.3.15");
/// Wall Clock Counter, of 24 MHz.
pub const WALCLK: Register<u32> = Register::new("WALCLK", 0x30).section("3.3.16");
/// Where commands are.
pub const CORBLBASE: Register<u32> =
    Register::new("CORBLBASE", 0x40).section("3.3.18").reset(0).kept(0xffff_ff80);
/// The upper half of that.
pub const CORBUBASE: Register<u32> =
    Register::new("CORBUBASE", 0x44).section("3.3.19").reset(0).kept(0xffff_ffff);
/// The last command.
pub const CORBWP: Register<u16> =
    Register::new("CORBWP", 0x48).section("3.3.20").reset(0).kept(0xff);
/// The last command that was sent.
pub const CORBRP: Register<u16> = Register::new("CORBRP", 0x4a).section("3.3.21");
/// Control of commands: bit 1 runs.
pub const CORBCTL: Register<u8> =
    Register::new("CORBCTL", 0x4c).section("3.3.22").reset(0).kept(0x01).acts(0x02);
/// The size of the ring of commands.
pub const CORBSIZE: Register<u8> = Register::new("CORBSIZE", 0x4e).section("3.3.24");
/// Where responses are.
pub const RIRBLBASE: Register<u32> =
    Register::new("RIRBLBASE", 0x50).section("3.3.25").reset(0).kept(0xffff_ff80);
/// The upper half of that.
pub const RIRBUBASE: Register<u32> =
    Register::new("RIRBUBASE", 0x54).section("3.3.26").reset(0).kept(0xffff_ffff);
/// The last response; bit 15 resets it.
pub const RIRBWP: Register<u16> = Register::new("RIRBWP", 0x58).section("3.3.27");
/// After how many responses there is an interrupt.
pub const RINTCNT: Register<u16> =
    Register::new("RINTCNT", 0x5a).section("3.3.28").reset(0).kept(0xff);
/// Control of responses: bit 0 interrupts, bit 1 runs.
pub const RIRBCTL: Register<u8> =
    Register::new("RIRBCTL", 0x5c).section("3.3.29").reset(0).kept(0x05).acts(0x02);
/// Status of responses, which ones clear.
pub const RIRBSTS: Register<u8> = Register::new("RIRBSTS", 0x5d).section("3.3.30");
/// Immediate Command Output.
pub const ICOI: Register<u32> = Register::new("ICOI", 0x60).section("3.4.1");
/// Immediate Response Input.
pub const IRII: Register<u32> = Register::new("IRII", 0x64).section("3.4.2");
/// Immediate Command Status: bit 0 busy, bit 1 valid.
pub const ICIS: Register<u16> = Register::new("ICIS", 0x68).section("3.4.3");
/// Where positions are written, if bit 0 is set.
pub const DPLBASE: Register<u32> =
    Register::new("DPLBASE", 0x70).section("3.3.32").reset(0).kept(0xffff_ff81);

/// A stream.
#[derive(Debug, Clone, Copy)]
pub struct Stream(
    /// Its number: streams from codecs first, four of each kind.
    pub u64,
);

/// The first stream from a codec.
pub const INPUT: Stream = Stream(0);
/// The first stream to a codec.
pub const OUTPUT: Stream = Stream(4);

impl Stream {
    const fn at<T: crate::qos::registers::Value>(self, register: Register<T>) -> Register<T> {
        register.above(0x20 * self.0)
    }
    /// Control, with the status in the highest byte.
    pub const fn control(self) -> Register<u32> {
        self.at(Register::new("SDnCTL", 0x80))
    }
    /// Status, which ones clear: bit 2 is that of a buffer that is through.
    pub const fn status(self) -> Register<u8> {
        self.at(Register::new("SDnSTS", 0x83))
    }
    /// Link Position in Current Buffer.
    pub const fn position(self) -> Register<u32> {
        self.at(Register::new("SDnLPIB", 0x84))
    }
    /// Cyclic Buffer Length.
    pub const fn length(self) -> Register<u32> {
        self.at(LENGTH)
    }
    /// Last Valid Index.
    pub const fn last(self) -> Register<u16> {
        self.at(LAST)
    }
    /// Format.
    pub const fn format(self) -> Register<u16> {
        self.at(FORMAT)
    }
    /// Where the list of buffers is.
    pub const fn list(self) -> Register<u32> {
        self.at(LIST)
    }
    /// The upper half of that.
    pub const fn list_upper(self) -> Register<u32> {
        self.at(LIST_UPPER)
    }
}

const LENGTH: Register<u32> =
    Register::new("SDnCBL", 0x88).section("3.3.38").reset(0).kept(0xffff_ffff);
const LAST: Register<u16> = Register::new("SDnLVI", 0x8c).section("3.3.39").reset(0).kept(0xff);
const FORMAT: Register<u16> = Register::new("SDnFMT", 0x92).section("3.3.41").reset(0).kept(0x7f7f);
const LIST: Register<u32> =
    Register::new("SDnBDPL", 0x98).section("3.3.42").reset(0).kept(0xffff_ff80);
const LIST_UPPER: Register<u32> =
    Register::new("SDnBDPU", 0x9c).section("3.3.43").reset(0).kept(0xffff_ffff);

/// Stream control: its reset.
pub const RESET: u32 = 1 << 0;
/// Stream control: it runs.
pub const RUN: u32 = 1 << 1;
/// Stream control: it interrupts when a buffer is through.
pub const INTERRUPT: u32 = 1 << 2;

const TABLE: &[&dyn AnyRegister] = &[
    &GCAP, &INTCTL, &CORBLBASE, &CORBUBASE, &CORBWP, &CORBCTL, &RIRBLBASE, &RIRBUBASE, &RINTCNT,
    &RIRBCTL, &DPLBASE,
];

/// A controller out of reset, with its codecs.
pub struct IntelHda {
    /// The machine that it is in.
    pub vm: Rc<Vm>,
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl IntelHda {
    /// The registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.plug.registers
    }

    /// Resets the controller and its codecs (3.3.7).
    ///
    /// # Errors
    /// Returns an error if it does not come out of reset.
    pub fn reset(&self) -> Result<()> {
        self.registers().set(GCTL, 0)?;
        self.leave_reset()
    }

    fn leave_reset(&self) -> Result<()> {
        self.registers().set(GCTL, 1)?;
        wait_until(&self.vm, "the controller to leave reset", || {
            Ok(self.registers().get(GCTL)? & 1 != 0)
        })
    }

    /// The address of the codec that plays what is tested: into a file, if there is one.
    pub fn codec(&self) -> u32 {
        u32::from(plays_into_file(&self.vm))
    }

    /// Sends a command to a node of a codec and returns the response, past the rings (3.4).
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if there is no response.
    pub fn command(&self, codec: u32, node: u32, command: u32) -> Result<u32> {
        let registers = self.registers();
        registers.set(ICIS, 0x02)?;
        registers.set(ICOI, codec << 28 | node << 20 | command)?;
        registers.set(ICIS, 0x01)?;
        let status = registers.get(ICIS)?;
        if status & 3 != 2 {
            let what = format!("codec {codec}, node {node}, command {command:#x}");
            return Err(Error::failed(format!("{what}: no response; ICIS is {status:#x}")));
        }
        registers.get(IRII)
    }

    /// The parameter `number` of a node (7.3.3.1).
    ///
    /// # Errors
    /// As [`IntelHda::command`].
    pub fn parameter(&self, codec: u32, node: u32, number: u32) -> Result<u32> {
        self.command(codec, node, 0xf0000 | number)
    }
}

impl Consumes<dyn PciBus> for IntelHda {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=hda")
        .images(&[WAV])
        .before("-audiodev none,id=snd0")
        .after("-device hda-duplex,bus=hda.0,cad=0,audiodev=snd0");
    const VARIANTS: &'static [Variant] = &[
        Variant {
            name: "wav",
            add: Addition::NONE
                .before("-audiodev wav,id=snd1,path={wav},out.frequency=48000")
                .after("-device hda-output,bus=hda.0,cad=1,audiodev=snd1"),
        },
        Variant {
            name: "micro",
            add: Addition::NONE.after("-device hda-micro,bus=hda.0,cad=2,audiodev=snd0"),
        },
    ];

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        let hda = Self { vm: site.vm.clone(), plug };
        hda.leave_reset()?;
        Ok(hda)
    }
}

impl Produces<PciFunction> for IntelHda {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let (device, mapped) = (self.plug.device.clone(), vec![self.plug.registers.clone()]);
        Rc::new(PciFunction { device, identity: None, mapped })
    }
}

impl Produces<RegisterBlock> for IntelHda {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let (vm, plug) = (self.vm.clone(), self.plug.clone());
        let block = RegisterBlock::new("HDA 1.0a", self.plug.registers.clone(), TABLE)
            .with_array(&LENGTH, 8, 0x20)
            .with_array(&LAST, 8, 0x20)
            .with_array(&FORMAT, 8, 0x20)
            .with_array(&LIST, 8, 0x20)
            .with_array(&LIST_UPPER, 8, 0x20)
            .software_reset(|registers| {
                registers.write(GCTL.offset(), Width::Long, 0)?;
                registers.write(GCTL.offset(), Width::Long, 1)
            })
            .attach(move || {
                let hda = Self { vm: vm.clone(), plug: plug.again()? };
                hda.leave_reset()?;
                Ok(hda.plug.registers.clone())
            });
        Rc::new(block)
    }
}

driver!(IntelHda as MEMBERS; consumes dyn PciBus; produces PciFunction, RegisterBlock);
