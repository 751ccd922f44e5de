//! The receive ring of Realtek's RTL8139C+ in its every length, and its modes besides (RTL8139C(L)
//! data sheet 1.4, chapter 6).

use std::cell::Cell;
use std::rc::Rc;

use crate::drivers::net::rtl8139::*;
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{
    Address, BROADCAST, LONGEST, MAC, PEER, Wire, frame, wait_received, without_check_sequence,
};
use crate::qos::nic::Nic;
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Result, tests};

tests!(Rtl8139, "rtl8139-tests":
    lengths = "ring-lengths",
    accepts = "accept-bits",
    loopback,
    halted,
);

/// RCR: bursts of any length; frames go on behind the end of the ring; every matching frame.
const BURST: u32 = 0b111 << 8;
const WRAP: u32 = 1 << 7;
const APM: u32 = 1 << 1;
const AM: u32 = 1 << 2;
const AB: u32 = 1 << 3;
const AAP: u32 = 1 << 0;
/// The header of a frame (6.1): received, and which address it was sent to.
const ROK: u32 = 1 << 0;
const MAR: u32 = 1 << 15;
const PAM: u32 = 1 << 14;
const BAR: u32 = 1 << 13;
/// CR: the receive buffer is empty.
const BUFE: u8 = 1 << 0;
/// TCR: what is sent comes back.
const LOOPBACK: u32 = 0b11 << 17;

/// The receiver with a ring of its own.
struct Ring<'a> {
    nic: &'a Rtl8139,
    vm: &'a Rc<Vm>,
    buffer: Buffer,
    length: usize,
    wraps: bool,
    next: Cell<usize>,
}

impl<'a> Ring<'a> {
    fn new(nic: &'a Rtl8139, vm: &'a Rc<Vm>, number: u32, rcr: u32) -> Result<Self> {
        nic.device().bus().reaches_ram()?;
        nic.reset(vm)?;
        let length = 0x2000usize << number;
        // Only a ring of less than 64 KiB lets frames go on behind its end (6.8).
        let wraps = rcr & WRAP == 0 || number == 3;
        let buffer = vm.ram().alloc(length + 16 + 2048, 4)?;
        let registers = &nic.plug.registers;
        // With the receiver off, this has QEMU discard frames that waited for room.
        registers.set(CAPR, 0xfff0)?;
        registers.set(RBSTART, buffer.address().0 as u32)?;
        registers.set(CR, CR_ON)?;
        registers.set(RCR, BURST | number << 11 | rcr)?;
        registers.set(ISR, !0)?;
        Ok(Self { nic, vm, buffer, length, wraps, next: Default::default() })
    }

    fn is_empty(&self) -> Result<bool> {
        Ok(self.nic.plug.registers.get(CR)? & BUFE != 0)
    }

    /// The header of the frame that comes next, and the frame, whose room is given back.
    fn take(&self, what: &str) -> Result<(u32, Vec<u8>)> {
        wait_received(self.vm, what, || Ok(!self.is_empty()?))?;
        let at = self.next.get();
        let header = self.buffer.read_le32(at)?;
        let mut data = vec![0; (header >> 16) as usize];
        let room = if self.wraps { self.length - at - 4 } else { data.len() };
        let (first, rest) = data.split_at_mut(room.min((header >> 16) as usize));
        self.buffer.read(at + 4, first)?;
        self.buffer.read(0, rest)?;
        let next = (at + 4 + data.len()).next_multiple_of(4) % self.length;
        self.next.set(next);
        let registers = &self.nic.plug.registers;
        assert_eq!(usize::from(registers.get(CBR)?), next, "{what}: CBR");
        registers.set(CAPR, (next as u16).wrapping_sub(16))?;
        assert_eq!(registers.get(CAPR)?, (next as u16).wrapping_sub(16), "{what}: CAPR");
        assert!(self.is_empty()?, "{what}: CR.BUFE when it is taken");
        Ok((header & 0xffff, without_check_sequence(data)?))
    }
}

/// Would catch a ring that is longer or shorter than it is set to, a frame that is torn or not
/// where it ought to be at its end, and a buffer that is told to be empty and is not, or is and
/// is not told.
fn lengths(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    for (number, rcr) in (0..4).flat_map(|number| [(number, AB | APM), (number, AB | APM | WRAP)]) {
        let ring = Ring::new(nic, vm, number, rcr)?;
        let wire = Wire::new(vm)?;
        let what = format!("{:#x} bytes, RCR {rcr:#x}", ring.length);
        assert!(ring.is_empty()?, "{what}: at first");
        let frames = ring.length / LONGEST + 8;
        for count in 0..frames {
            let what = format!("{what}, frame {count}");
            let sent = frame(MAC, PEER, LONGEST - count % 5, count as u8);
            wire.send(&sent)?;
            let (header, got) = ring.take(&what)?;
            assert_eq!(header, ROK | PAM, "{what}: the header");
            assert!(got == sent, "{what}: {} bytes of {}", got.len(), sent.len());
        }
    }
    Ok(())
}

/// Would catch a bit of RCR that lets in what another should, and a header that tells another
/// reason.
fn accepts(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    const GROUP: Address = [1, 0, 0x5e, 1, 2, 3];
    let ring = Ring::new(nic, vm, 0, 0)?;
    let wire = Wire::new(vm)?;
    let registers = &nic.plug.registers;
    registers.set(MAR0, !0)?;
    registers.set(MAR0.nth(1, 4), !0)?;
    for accept in [APM, AB, AM, AB | AM, APM | AB, APM | AM | AB] {
        registers.set(RCR, BURST | accept)?;
        ring.next.set(registers.get(CBR)?.into());
        for (number, (to, bit, header)) in
            (0..).zip([(MAC, APM, PAM), (BROADCAST, AB, BAR), (GROUP, AM, MAR)])
        {
            let what = format!("a frame to {}, RCR {accept:#x}", hex::encode(to));
            let sent = frame(to, PEER, 80, number);
            wire.send(&sent)?;
            if accept & bit != 0 {
                let (seen, got) = ring.take(&what)?;
                assert!(got == sent, "{what}");
                assert_eq!(seen, ROK | header, "{what}: the header");
                continue;
            }
            // What is not let in is known by the frame after it.
            wire.send(&frame(PEER, PEER, 81, 1))?;
            let marker = [(APM, MAC), (AB, BROADCAST), (AM, GROUP)];
            let marker = marker.into_iter().find(|(bit, _)| accept & bit != 0);
            let marker = frame(marker.map_or(MAC, |(_, to)| to), PEER, 82, 2);
            wire.send(&marker)?;
            let (_, got) = ring.take(&what)?;
            assert!(got == marker, "{what}: {}", hex::encode(&got[..20]));
        }
    }
    registers.set(RCR, BURST | AAP)?;
    ring.next.set(registers.get(CBR)?.into());
    for to in [PEER, GROUP, BROADCAST, MAC] {
        let sent = frame(to, PEER, 80, 9);
        wire.send(&sent)?;
        assert!(ring.take("every frame")?.1 == sent, "every frame: {}", hex::encode(to));
    }
    Ok(())
}

/// Would catch a loopback whose frames go out, do not come in, or that does not end.
fn loopback(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    let wire = Wire::new(vm)?;
    let registers = &nic.plug.registers;
    let plain = registers.get(TCR)?;
    for (number, on) in [true, false, true, false].into_iter().enumerate() {
        registers.set(TCR, if on { plain | LOOPBACK } else { plain })?;
        let sent = frame(MAC, MAC, 100 + number, number as u8);
        nic.queue(&sent)?;
        nic.send()?;
        if on {
            wait_received(vm, "a frame of its own", || Ok(nic.arrived()? == 1))?;
            assert!(nic.take()? == sent, "a frame that came back");
            nic.recycle()?;
            wire.assert_silent("in loopback")?;
        } else {
            assert!(wire.receive("a frame out")? == sent, "a frame out");
            assert_eq!(nic.arrived()?, 0, "frames that came back without loopback");
        }
        wait_received(vm, "the end of a frame", || Ok(nic.sent()? == 1))?;
    }
    Ok(())
}

/// Would catch a chip that receives while its clock is halted (6.14), or not when it goes on.
fn halted(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    let wire = Wire::new(vm)?;
    nic.plug.registers.set(HLTCLK, b'H')?;
    wire.send(&frame(MAC, PEER, 100, 1))?;
    // The socket is looked at once in each turn of QEMU's main loop.
    (0..20).try_for_each(|_| settle(vm))?;
    assert_eq!(nic.arrived()?, 0, "frames received while the clock is halted");
    nic.plug.registers.set(HLTCLK, b'R')?;
    let sent = frame(MAC, PEER, 101, 2);
    wire.send(&sent)?;
    wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
    assert!(nic.take()? == sent, "the frame after the halt");
    Ok(())
}
