//! What every USB device answers: standard requests (USB 2.0, 9.4), on any controller.

use std::rc::Rc;

use super::{Completion, Device, Endpoint, Kind, Request, UsbHcd};
use crate::qemu::Buffer;
use crate::qos::wait_until;
use crate::{Error, Result};

/// Standard requests (USB 2.0, table 9-4).
pub mod request {
    /// GET_STATUS.
    pub const GET_STATUS: u8 = 0;
    /// CLEAR_FEATURE.
    pub const CLEAR_FEATURE: u8 = 1;
    /// SET_FEATURE.
    pub const SET_FEATURE: u8 = 3;
    /// GET_DESCRIPTOR.
    pub const GET_DESCRIPTOR: u8 = 6;
    /// GET_CONFIGURATION.
    pub const GET_CONFIGURATION: u8 = 8;
    /// SET_CONFIGURATION.
    pub const SET_CONFIGURATION: u8 = 9;
    /// GET_INTERFACE.
    pub const GET_INTERFACE: u8 = 10;
    /// SET_INTERFACE.
    pub const SET_INTERFACE: u8 = 11;
}

/// Types of descriptors (USB 2.0, table 9-5).
pub mod descriptor {
    /// The device.
    pub const DEVICE: u8 = 1;
    /// A configuration, with its interfaces and endpoints.
    pub const CONFIGURATION: u8 = 2;
    /// A text.
    pub const STRING: u8 = 3;
    /// An interface, in one of its alternate settings.
    pub const INTERFACE: u8 = 4;
    /// An endpoint.
    pub const ENDPOINT: u8 = 5;
    /// What an endpoint has besides at super speed (USB 3.2, 9.6.7).
    pub const COMPANION: u8 = 0x30;
}

/// A setup packet (USB 2.0, 9.3).
pub fn setup(kind: u8, request: u8, value: u16, index: u16, length: u16) -> [u8; 8] {
    let ([v0, v1], [i0, i1]) = (value.to_le_bytes(), index.to_le_bytes());
    let [l0, l1] = length.to_le_bytes();
    [kind, request, v0, v1, i0, i1, l0, l1]
}

/// Waits for the end of a transfer.
///
/// # Errors
/// It does not end, or as for [`UsbHcd::completion`].
pub fn wait(hcd: &(impl UsbHcd + ?Sized), request: &Request, what: &str) -> Result<Completion> {
    let ticket = hcd.submit(request)?;
    let mut ended = None;
    wait_until(hcd.vm(), what, || {
        ended = hcd.completion(ticket)?;
        Ok(ended.is_some())
    })?;
    ended.ok_or_else(|| Error::failed(format!("{what}: it ended without a status")))
}

/// Sends a setup packet; the data go to or come from `data`.
///
/// # Errors
/// The transfer does not end, or as for [`UsbHcd::completion`].
pub fn control(
    hcd: &(impl UsbHcd + ?Sized),
    device: &Device,
    setup: [u8; 8],
    data: Option<&Buffer>,
    what: &str,
) -> Result<Completion> {
    let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
    let address = data.map_or(0, |data| data.address().0);
    let (endpoint, setup) = (device.control(), Some(setup));
    wait(hcd, &Request { device, endpoint, setup, address, length, stream: 0 }, what)
}

/// A device on the bus of a controller.
pub struct UsbDevice<'a> {
    /// The controller.
    pub hcd: &'a dyn UsbHcd,
    /// What the controller knows of it.
    pub device: Rc<Device>,
}

impl UsbDevice<'_> {
    /// Asks for data, which may be fewer.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn ask(&self, setup: [u8; 8], what: &str) -> Result<(Completion, Vec<u8>)> {
        /// What memory has where nothing was received.
        const UNTOUCHED: u8 = 0xa5;
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        let data = self.hcd.vm().ram().alloc(length.max(1), 16)?;
        data.write(0, &vec![UNTOUCHED; length])?;
        let completion = control(self.hcd, &self.device, setup, Some(&data), what)?;
        let mut bytes = data.to_vec()?;
        bytes.truncate(length);
        let rest = bytes.split_off(completion.moved.min(length));
        if rest.iter().any(|byte| *byte != UNTOUCHED) {
            let why = format!("{what}: memory behind the data was written: {rest:02x?}");
            return Err(Error::failed(why));
        }
        Ok((completion, bytes))
    }

    /// The data of an answer that must not be refused.
    ///
    /// # Errors
    /// It is refused, or the transfer does not end.
    pub fn get(&self, setup: [u8; 8], what: &str) -> Result<Vec<u8>> {
        let (completion, bytes) = self.ask(setup, what)?;
        completion.done(what)?;
        Ok(bytes)
    }

    /// Sends a request without data.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn tell(&self, kind: u8, request: u8, value: u16, index: u16) -> Result<Completion> {
        let what = format!("request {request} of type {kind:#x}, {value:#x}, {index:#x}");
        control(self.hcd, &self.device, setup(kind, request, value, index, 0), None, &what)
    }

    /// Sends a request without data that must not be refused.
    ///
    /// # Errors
    /// It is refused, or the transfer does not end.
    pub fn set(&self, kind: u8, request: u8, value: u16, index: u16) -> Result<()> {
        let what = format!("request {request} of type {kind:#x}, {value:#x}, {index:#x}");
        self.tell(kind, request, value, index)?.done(&what).map(drop)
    }

    /// A descriptor of at most `length` bytes.
    ///
    /// # Errors
    /// The device refuses.
    pub fn descriptor(&self, kind: u8, index: u8, language: u16, length: u16) -> Result<Vec<u8>> {
        let value = u16::from(kind) << 8 | u16::from(index);
        let what = format!("descriptor {index} of type {kind}");
        self.get(setup(0x80, request::GET_DESCRIPTOR, value, language, length), &what)
    }

    /// A text of the device, in American English.
    ///
    /// # Errors
    /// The device refuses, or what it tells is no text.
    pub fn text(&self, index: u8) -> Result<String> {
        const ENGLISH: u16 = 0x0409;
        let bytes = self.descriptor(descriptor::STRING, index, ENGLISH, 255)?;
        match bytes.split_at_checked(2) {
            Some((&[length, descriptor::STRING], text)) if usize::from(length) == bytes.len() => {
                let units = text.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                Ok(char::decode_utf16(units).map(|it| it.unwrap_or('\u{fffd}')).collect())
            }
            _ => Err(Error::failed(format!("text {index} is {bytes:02x?}"))),
        }
    }

    /// The first configuration, whole.
    ///
    /// # Errors
    /// The device refuses, or tells fewer bytes than it has.
    pub fn configuration(&self) -> Result<Vec<u8>> {
        self.configuration_at(0)
    }

    /// The configuration of this index, which is not its value, whole.
    ///
    /// # Errors
    /// The device refuses, or tells fewer bytes than it has.
    pub fn configuration_at(&self, index: u8) -> Result<Vec<u8>> {
        let head = self.descriptor(descriptor::CONFIGURATION, index, 0, 9)?;
        let total = match head[..] {
            [9, descriptor::CONFIGURATION, low, high, ..] => u16::from_le_bytes([low, high]),
            _ => return Err(Error::failed(format!("the configuration begins with {head:02x?}"))),
        };
        let all = self.descriptor(descriptor::CONFIGURATION, index, 0, total)?;
        if all.len() != usize::from(total) || all[..9] != head {
            return Err(Error::failed(format!(
                "the configuration is {all:02x?} after {head:02x?}"
            )));
        }
        Ok(all)
    }

    /// Gives the device its first configuration; returns the endpoints of that.
    ///
    /// # Errors
    /// The device or the controller refuses.
    pub fn configure(&self) -> Result<Vec<Endpoint>> {
        self.configure_at(0)
    }

    /// Gives the device the configuration of this index; returns the endpoints of that.
    ///
    /// # Errors
    /// The device or the controller refuses.
    pub fn configure_at(&self, index: u8) -> Result<Vec<Endpoint>> {
        let all = self.configuration_at(index)?;
        let endpoints = endpoints(&all, |_| 0)?;
        self.hcd.configure(&self.device, &endpoints)?;
        self.set(0, request::SET_CONFIGURATION, u16::from(all[5]), 0)?;
        Ok(endpoints)
    }

    /// Gives an interface of the device, which is configured, one of its alternate settings, all others
    /// having their first; returns the endpoints of all.
    ///
    /// # Errors
    /// The device or the controller refuses.
    pub fn set_interface(&self, interface: u8, setting: u8) -> Result<Vec<Endpoint>> {
        self.set_interface_at(0, interface, setting)
    }

    /// Gives an interface of the device, whose configuration is that of this index, one of its alternate
    /// settings, all others having their first; returns the endpoints of all.
    ///
    /// # Errors
    /// The device or the controller refuses.
    pub fn set_interface_at(&self, index: u8, interface: u8, setting: u8) -> Result<Vec<Endpoint>> {
        let of = |it: u8| if it == interface { setting } else { 0 };
        let endpoints = endpoints(&self.configuration_at(index)?, of)?;
        self.hcd.configure(&self.device, &endpoints)?;
        self.set(1, request::SET_INTERFACE, setting.into(), interface.into())?;
        Ok(endpoints)
    }

    /// A transfer between `data` from `offset` on and an endpoint.
    ///
    /// # Errors
    /// It does not end.
    pub fn transfer(
        &self,
        endpoint: Endpoint,
        data: &Buffer,
        (offset, length): (usize, usize),
        what: &str,
    ) -> Result<Completion> {
        wait(self.hcd, &self.request(endpoint, data, (offset, length)), what)
    }

    /// The same, to be submitted.
    pub fn request(
        &self,
        endpoint: Endpoint,
        data: &Buffer,
        (offset, length): (usize, usize),
    ) -> Request<'_> {
        let address = data.address().0 + offset as u64;
        Request { device: &self.device, endpoint, setup: None, address, length, stream: 0 }
    }

    /// Has the device clear the halt of an endpoint, and the controller as well.
    ///
    /// # Errors
    /// Either refuses.
    pub fn clear_halt(&self, endpoint: &Endpoint) -> Result<()> {
        // ENDPOINT_HALT is feature 0 (USB 2.0, 9.4.1).
        self.set(2, request::CLEAR_FEATURE, 0, endpoint.address.into())?;
        self.hcd.clear_halt(&self.device, endpoint)
    }
}

/// The endpoints of a configuration whose interfaces have the alternate settings that `setting` says
/// (USB 2.0, 9.6.5 and 9.6.6).
fn endpoints(mut all: &[u8], setting: impl Fn(u8) -> u8) -> Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    let mut is_set = true;
    while let [length, kind, ..] = *all {
        let Some((one, rest)) = all.split_at_checked(length.into()).filter(|_| length > 1) else {
            return Err(Error::failed(format!("a descriptor of {length} bytes in {all:02x?}")));
        };
        all = rest;
        match (kind, one) {
            (descriptor::INTERFACE, &[_, _, interface, alternate, ..]) => {
                is_set = setting(interface) == alternate;
            }
            // Those of audio devices have two bytes more (Audio Devices 1.0, 4.6.1.1).
            (descriptor::ENDPOINT, &[_, _, address, attributes, low, high, interval, ..])
                if is_set =>
            {
                let kind = match attributes & 3 {
                    1 => Kind::Isochronous,
                    2 => Kind::Bulk,
                    3 => Kind::Interrupt,
                    _ => {
                        return Err(Error::failed(
                            "an endpoint of a configuration is a control one",
                        ));
                    }
                };
                let packet = usize::from(u16::from_le_bytes([low, high]) & 0x7ff);
                endpoints.push(Endpoint { address, kind, packet, interval, streams: 0 });
            }
            (descriptor::COMPANION, &[6, _, _, attributes, ..]) if is_set => {
                if let Some(last) = endpoints.last_mut().filter(|it| it.kind == Kind::Bulk) {
                    last.streams = attributes & 0x1f;
                }
            }
            _ => {}
        }
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an endpoint that is overlooked or read as another, and a descriptor without an
    /// end that is followed for ever.
    #[test]
    fn endpoints_of_a_configuration() {
        let mut all = vec![9, 2, 32, 0, 1, 1, 0, 0xa0, 50, 9, 4, 0, 0, 1, 3, 0, 0, 0];
        all.extend([7, 5, 0x81, 3, 8, 0, 10, 7, 5, 0x02, 2, 0, 2, 0, 6, 0x30, 15, 4, 0, 0]);
        let found = endpoints(&all, |_| 0).unwrap();
        let first =
            Endpoint { address: 0x81, kind: Kind::Interrupt, packet: 8, interval: 10, streams: 0 };
        let second =
            Endpoint { address: 0x02, kind: Kind::Bulk, packet: 512, interval: 0, streams: 4 };
        assert_eq!(found, [first, second]);
        let is_refused = |all: &[u8]| endpoints(all, |_| 0).is_err();
        assert!(is_refused(&[0, 5, 0]) && is_refused(&[9, 2, 1]));
    }

    /// Would catch an endpoint of an alternate setting that the interface does not have.
    #[test]
    fn endpoints_of_a_setting() {
        let mut all = vec![9, 4, 1, 0, 0, 1, 2, 0, 0, 9, 4, 1, 1, 1, 1, 2, 0, 0];
        all.extend([9, 5, 0x01, 0x0d, 192, 0, 1, 0, 0]);
        let kind = Kind::Isochronous;
        let only = Endpoint { address: 1, kind, packet: 192, interval: 1, streams: 0 };
        assert_eq!(endpoints(&all, |_| 0).unwrap(), []);
        assert_eq!(endpoints(&all, |_| 1).unwrap(), [only]);
    }

    /// Would catch a field of a setup packet in the place of another.
    #[test]
    fn a_setup_packet() {
        let bytes = setup(0x80, 6, 0x0102, 0x0304, 0x0506);
        assert_eq!(bytes, [0x80, 6, 2, 1, 4, 3, 6, 5]);
    }
}
