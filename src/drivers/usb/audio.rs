//! QEMU's `usb-audio`: a speaker of USB (Universal Serial Bus Device Class Definition for Audio Devices
//! 1.0, "Audio 1.0", whose sections are cited). The variant `wav` plays into a file.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::graph::{Addition, Consumes, QemuArgs, Site, Variant};
use crate::qemu::{Buffer, Vm};
use crate::qos::sound::WAV;
use crate::qos::usb::device::{UsbDevice, control, setup};
use crate::qos::usb::function::Function;
use crate::qos::usb::{Completion, Endpoint, FullSpeed, Kind, Packets, Speed, Ticket};
use crate::qos::wait_until;
use crate::{Error, Result, driver};

/// Requests of the class (Audio 1.0, table A-9).
pub mod request {
    /// SET_CUR.
    pub const SET_CUR: u8 = 0x01;
    /// SET_MIN.
    pub const SET_MIN: u8 = 0x02;
    /// GET_CUR.
    pub const GET_CUR: u8 = 0x81;
    /// GET_MIN.
    pub const GET_MIN: u8 = 0x82;
    /// GET_MAX.
    pub const GET_MAX: u8 = 0x83;
    /// GET_RES.
    pub const GET_RES: u8 = 0x84;
}

/// Controls of a feature unit (Audio 1.0, table A-11).
pub mod control_of {
    /// MUTE_CONTROL.
    pub const MUTE: u8 = 1;
    /// VOLUME_CONTROL.
    pub const VOLUME: u8 = 2;
}

/// The interface with the samples, and the setting in which it has its endpoint.
pub const STREAMING: u8 = 1;
/// The setting in which it plays.
pub const PLAYING: u8 = 1;
/// The identifier of the feature unit, which QEMU's device has.
pub const UNIT: u8 = 2;
/// The bytes of one millisecond: 48 pairs of samples of 16 bits.
pub const PACKET: usize = 192;
/// How many packets are submitted at a time, and how many times while others are not over.
const BURST: usize = 8;
const AHEAD: usize = 3;

/// A speaker.
pub struct UsbAudio {
    /// The device.
    pub function: Function,
}

/// A speaker that is configured.
pub struct Speaker<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoint for samples.
    pub endpoint: Endpoint,
    next: Cell<Option<u32>>,
}

impl UsbAudio {
    /// Starts the controller and configures the device; it does not play.
    ///
    /// # Errors
    /// The device is not there, or refuses.
    pub fn configured(&self) -> Result<UsbDevice<'_>> {
        let usb = self.function.connect()?;
        match usb.configure()?[..] {
            [] => Ok(usb),
            ref other => Err(Error::failed(format!("a speaker that is off has {other:?}"))),
        }
    }

    /// Starts the controller, and has the device play what it gets.
    ///
    /// # Errors
    /// The device is not there, refuses, or has not one endpoint for samples.
    pub fn start(&self) -> Result<Speaker<'_>> {
        Speaker::on(self.configured()?)
    }
}

impl<'a> Speaker<'a> {
    /// Has a device that is configured play what it gets.
    ///
    /// # Errors
    /// It refuses, or has not one endpoint for samples.
    pub fn on(usb: UsbDevice<'a>) -> Result<Self> {
        match usb.set_interface(STREAMING, PLAYING)?[..] {
            [endpoint] if endpoint.kind == Kind::Isochronous && !endpoint.is_in() => {
                Ok(Self { usb, endpoint, next: Cell::new(None) })
            }
            ref other => Err(Error::failed(format!("a speaker that plays has {other:?}"))),
        }
    }

    /// The frame that is so many after the current one.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn frame_in(&self, frames: u32) -> Result<u32> {
        let modulus = self.usb.hcd.profile().frames;
        Ok((self.usb.hcd.frame()? + frames) % modulus)
    }

    /// Submits packets for the frames from `first` on.
    ///
    /// # Errors
    /// The controller refuses.
    pub fn submit(&self, first: u32, address: u64, lengths: &[usize]) -> Result<Ticket> {
        let (device, endpoint) = (&self.usb.device, self.endpoint);
        self.usb.hcd.submit_packets(&Packets { device, endpoint, address, lengths, first })
    }

    /// Waits until packets are over.
    ///
    /// # Errors
    /// They never are.
    pub fn ended(&self, ticket: Ticket) -> Result<Vec<Completion>> {
        let mut ended = None;
        wait_until(self.usb.hcd.vm(), "the end of isochronous packets", || {
            ended = self.usb.hcd.packets(ticket)?;
            Ok(ended.is_some())
        })?;
        ended.ok_or_else(|| Error::failed("packets that ended were lost"))
    }

    /// Sends bytes in packets of these lengths, each in the frame after the one before, also of those
    /// that were sent before; says what became of each.
    ///
    /// # Errors
    /// Packets never end.
    pub fn send(&self, data: &Buffer, lengths: &[usize]) -> Result<Vec<Completion>> {
        let modulus = self.usb.hcd.profile().frames;
        let mut address = data.address().0;
        let mut first = match self.next.get() {
            Some(next) => next,
            None => self.frame_in(6)?,
        };
        let (mut pending, mut completions) = (VecDeque::new(), Vec::new());
        for burst in lengths.chunks(BURST) {
            pending.push_back(self.submit(first, address, burst)?);
            address += burst.iter().sum::<usize>() as u64;
            first = (first + burst.len() as u32) % modulus;
            if pending.len() == AHEAD
                && let Some(ticket) = pending.pop_front()
            {
                completions.extend(self.ended(ticket)?);
            }
        }
        for ticket in pending {
            completions.extend(self.ended(ticket)?);
        }
        self.next.set(None);
        Ok(completions)
    }

    /// Plays bytes in packets of one millisecond, of which none may fail.
    ///
    /// # Errors
    /// Packets never end, or are not all done.
    pub fn play(&self, bytes: &[u8]) -> Result<()> {
        let data = self.usb.hcd.vm().ram().alloc(bytes.len(), 64)?;
        data.write(0, bytes)?;
        let completions = self.send(&data, &vec![PACKET; bytes.len() / PACKET])?;
        for (at, completion) in completions.into_iter().enumerate() {
            let moved = completion.done(&format!("packet {at}"))?;
            if moved != PACKET {
                return Err(Error::failed(format!("packet {at}: {moved} bytes were sent")));
            }
        }
        Ok(())
    }

    /// Lets what was sent come out.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn drain(&self) -> Result<()> {
        let qtest = self.usb.hcd.vm().qtest();
        for _ in 0..40 {
            qtest.clock_step(Some(Duration::from_millis(5)))?;
        }
        Ok(())
    }
}

/// Asks a feature unit for an attribute of a control (Audio 1.0, 5.2.2.4).
///
/// # Errors
/// The transfer does not end.
pub fn ask(
    usb: &UsbDevice,
    request: u8,
    (selector, channel): (u8, u8),
    length: u16,
) -> Result<(Completion, Vec<u8>)> {
    let (value, index) = (u16::from(selector) << 8 | u16::from(channel), u16::from(UNIT) << 8);
    let what = format!("request {request:#x} of control {selector}, channel {channel}");
    usb.ask(setup(0xa1, request, value, index, length), &what)
}

/// Sets an attribute of a control.
///
/// # Errors
/// The transfer does not end.
pub fn set(
    usb: &UsbDevice,
    request: u8,
    (selector, channel): (u8, u8),
    bytes: &[u8],
) -> Result<Completion> {
    let (value, index) = (u16::from(selector) << 8 | u16::from(channel), u16::from(UNIT) << 8);
    let data = usb.hcd.vm().ram().alloc(bytes.len().max(1), 16)?;
    data.write(0, bytes)?;
    let what = format!("request {request:#x} of control {selector}, channel {channel}");
    let setup = setup(0x21, request, value, index, bytes.len() as u16);
    control(usb.hcd, &usb.device, setup, Some(&data), &what)
}

/// The back end that a second device can play into.
pub fn back_end(vm: &Vm) -> &'static str {
    if crate::qos::sound::plays_into_file(vm) { "snd1" } else { "snd0" }
}

impl Consumes<FullSpeed> for UsbAudio {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},port={addr},id=function")
        .images(&[WAV])
        .add(Addition::properties(&["audiodev=snd0"]).before("-audiodev none,id=snd0"));
    const VARIANTS: &'static [Variant] = &[Variant {
        name: "wav",
        add: Addition::properties(&["audiodev=snd1"])
            .before("-audiodev wav,id=snd1,path={wav},out.frequency=48000"),
    }];

    fn attach(ports: Rc<FullSpeed>, _: &Site) -> Result<Self> {
        Ok(Self { function: Function::new(ports.0.clone(), &[Speed::Full]) })
    }
}

driver!(UsbAudio = "usb-audio"; consumes FullSpeed);
