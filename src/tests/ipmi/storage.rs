//! What a management controller stores: the log of events, the records of sensors, the inventory
//! (IPMI v2.0, chapters 31, 33 and 34).

use std::rc::Rc;
use std::time::Duration;

use crate::qemu::Vm;
use crate::qos::ipmi::netfn::{SENSOR, STORAGE};
use crate::qos::ipmi::{Ipmi, code};
use crate::{Result, attacks, tests};

tests!(dyn Ipmi, "ipmi-storage-tests":
    sel,
    sel_parts = "sel-parts",
    sel_full = "sel-full",
    sel_erase = "sel-erase",
    reservations,
    events,
    sel_time = "sel-time",
    sdr,
    sdr_parts = "sdr-parts",
    fru,
    fru_end = "fru-end",
    fru_lengths = "fru-lengths",
);
attacks!(dyn Ipmi, "ipmi-storage-attacks": sel, sel_parts = "sel-parts", sdr, fru);

/// Commands of the log (31.2 to 31.11).
const GET_SEL_INFO: u8 = 0x40;
const RESERVE_SEL: u8 = 0x42;
const GET_SEL_ENTRY: u8 = 0x43;
const ADD_SEL_ENTRY: u8 = 0x44;
const CLEAR_SEL: u8 = 0x47;
const GET_SEL_TIME: u8 = 0x48;
const SET_SEL_TIME: u8 = 0x49;
/// Commands of the records of sensors (33.9 to 33.12).
const GET_SDR_INFO: u8 = 0x20;
const RESERVE_SDR: u8 = 0x22;
const GET_SDR: u8 = 0x23;
/// Commands of the inventory (34.1 to 34.3).
const GET_FRU_INFO: u8 = 0x10;
const READ_FRU: u8 = 0x11;
const WRITE_FRU: u8 = 0x12;

/// Stands for the first and for the last record.
const FIRST: u16 = 0x0000;
const LAST: u16 = 0xffff;
/// Of a part: all of it.
const ALL: u8 = 0xff;
/// How many bytes a record of the log has.
const RECORD: usize = 16;

/// A record for the log: of an original equipment manufacturer, with a timestamp (32.2), which the
/// controller sets.
fn record(number: u8) -> [u8; RECORD] {
    let mut bytes = [number; RECORD];
    bytes[..3].copy_from_slice(&[0xff, 0xff, 0xc5]);
    bytes
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// What Get SEL Info says.
#[derive(Debug, PartialEq, Eq)]
struct SelInfo {
    entries: u16,
    free: u16,
    has_overflown: bool,
}

/// The ID of the next record, and bytes of one.
type Part = (u16, Vec<u8>);

/// The log of a controller, or the repository of its sensors' records.
struct Log<'b>(&'b dyn Ipmi);

impl Log<'_> {
    fn info(&self) -> Result<SelInfo> {
        let said = self.0.get(STORAGE, GET_SEL_INFO, &[])?;
        assert_eq!((said.len(), said[0]), (14, 0x51), "Get SEL Info: {said:02x?}");
        let (entries, free) = (word(&said[1..]), word(&said[3..]));
        Ok(SelInfo { entries, free, has_overflown: said[13] & 0x80 != 0 })
    }

    fn reserve(&self, command: u8) -> Result<u16> {
        let said = self.0.get(STORAGE, command, &[])?;
        assert_eq!(said.len(), 2, "a reservation: {said:02x?}");
        Ok(word(&said))
    }

    fn add(&self, record: &[u8; RECORD]) -> Result<u16> {
        Ok(word(&self.0.get(STORAGE, ADD_SEL_ENTRY, record)?))
    }

    /// The code with which a part of a record is read; the next record's ID, and the part.
    fn part(
        &self,
        command: u8,
        (reservation, id): (u16, u16),
        (offset, length): (u8, u8),
    ) -> Result<(u8, Option<Part>)> {
        let [reserved, id] = [reservation, id].map(u16::to_le_bytes);
        let request = [reserved[0], reserved[1], id[0], id[1], offset, length];
        let (code, data) = self.0.ask(STORAGE, command, &request)?;
        Ok((code, (data.len() >= 2).then(|| (word(&data), data[2..].to_vec()))))
    }

    /// The whole record and the ID of the next.
    fn entry(&self, id: u16) -> Result<(u16, Vec<u8>)> {
        let (code, data) = self.part(GET_SEL_ENTRY, (0, id), (0, ALL))?;
        assert_eq!(code, code::OK, "Get SEL Entry of {id:#x}");
        Ok(data.unwrap_or_default())
    }

    /// Clear SEL with this reservation, signature and action.
    fn clear(&self, reservation: u16, signature: &[u8; 3], action: u8) -> Result<(u8, Vec<u8>)> {
        let mut request = reservation.to_le_bytes().to_vec();
        request.extend(signature);
        request.push(action);
        self.0.ask(STORAGE, CLEAR_SEL, &request)
    }

    /// Erases everything.
    fn erase(&self) -> Result<()> {
        let (code, data) = self.clear(self.reserve(RESERVE_SEL)?, b"CLR", 0xaa)?;
        assert_eq!((code, &data[..]), (code::OK, &[1][..]), "Clear SEL: erasure is completed");
        Ok(())
    }
}

/// Would catch a record that is not in the log, with other bytes or at another place; numbers of
/// entries and of free bytes that are not right; and an ID that leads nowhere (31.2, 31.5, 31.6).
fn sel(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    log.erase()?;
    let empty = log.info()?;
    assert_eq!((empty.entries, empty.has_overflown), (0, false), "the empty log");
    assert_eq!(log.part(GET_SEL_ENTRY, (0, FIRST), (0, ALL))?.0, code::NOT_PRESENT, "no record");
    let ids = [1, 2, 3].map(|number| log.add(&record(number)));
    let ids = ids.into_iter().collect::<Result<Vec<u16>>>()?;
    let info = log.info()?;
    assert_eq!((info.entries, info.free), (3, empty.free - 3 * RECORD as u16), "{info:?}");
    for (at, id) in ids.iter().enumerate() {
        let (next, bytes) = log.entry(*id)?;
        assert_eq!(next, ids.get(at + 1).copied().unwrap_or(LAST), "the record behind {at}");
        let mut expected = record(at as u8 + 1);
        expected[..2].copy_from_slice(&id.to_le_bytes());
        // The time is the controller's.
        expected[3..7].copy_from_slice(&bytes[3..7]);
        assert_eq!(bytes, expected, "record {at}");
    }
    assert_eq!(log.entry(FIRST)?, log.entry(ids[0])?, "the first record");
    assert_eq!(log.entry(LAST)?, log.entry(ids[2])?, "the last record");
    let none = log.part(GET_SEL_ENTRY, (0, 0x1234), (0, ALL))?;
    assert_eq!(none, (code::NOT_PRESENT, None), "a record that there is not");
    Ok(())
}

/// Would catch a part of a record that begins or ends elsewhere, and one behind its end that is
/// read (31.5).
fn sel_parts(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    log.erase()?;
    let mut odd = record(0);
    odd[7..].copy_from_slice(&[7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let id = log.add(&odd)?;
    log.add(&record(0xee))?;
    let whole = log.entry(id)?.1;
    for (offset, length) in [(0u8, 1u8), (0, 16), (7, 9), (15, 1), (3, 4), (15, ALL)] {
        let reservation = log.reserve(RESERVE_SEL)?;
        let (code, data) = log.part(GET_SEL_ENTRY, (reservation, id), (offset, length))?;
        assert_eq!(code, code::OK, "{length} bytes at {offset}");
        let end = if length == ALL { RECORD } else { usize::from(offset + length) };
        let expected = &whole[usize::from(offset)..end];
        assert_eq!(data.unwrap_or_default().1, expected, "{length} bytes at {offset}");
    }
    for (offset, length) in [(16, 1), (15, 2), (0, 17), (0xff, 1), (0xf0, 0x20), (1, 0xfe)] {
        let reservation = log.reserve(RESERVE_SEL)?;
        let (code, data) = log.part(GET_SEL_ENTRY, (reservation, id), (offset, length))?;
        let is_refused = matches!(code, code::RANGE | code::DATA) && data.is_none();
        assert!(is_refused, "{length} bytes at {offset}: {code:#x}, {data:02x?}");
    }
    // A part that is not the first needs a reservation.
    let reservation = log.reserve(RESERVE_SEL)?;
    let (code, _) = log.part(GET_SEL_ENTRY, (reservation ^ 0x100, id), (4, 4))?;
    assert_eq!(code, code::RESERVATION, "a part with a reservation that there is not");
    Ok(())
}

/// Would catch a log that takes more than it has room for, or less, forgets what it has, or does
/// not say that something was lost (31.2, 31.6).
fn sel_full(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    log.erase()?;
    let room = usize::from(log.info()?.free) / RECORD;
    let ids: Vec<u16> = (0..room).map(|at| log.add(&record(at as u8))).collect::<Result<_>>()?;
    let full = SelInfo { entries: room as u16, free: 0, has_overflown: false };
    assert_eq!(log.info()?, full, "the full log");
    let (code, _) = bmc.ask(STORAGE, ADD_SEL_ENTRY, &record(0xee))?;
    assert_eq!(code, code::OUT_OF_SPACE, "a record more");
    assert_eq!(log.info()?, SelInfo { has_overflown: true, ..full }, "the log that lost one");
    for at in [0, 1, room / 2, room - 1] {
        assert_eq!(log.entry(ids[at])?.1[7..], record(at as u8)[7..], "record {at}");
    }
    log.erase()?;
    let empty = SelInfo { entries: 0, free: (room * RECORD) as u16, has_overflown: false };
    assert_eq!(log.info()?, empty, "the log once it is erased");
    Ok(())
}

/// Would catch a log that is erased by a request that does not say so rightly (31.9).
fn sel_erase(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    log.erase()?;
    log.add(&record(1))?;
    let reservation = log.reserve(RESERVE_SEL)?;
    let (code, _) = log.clear(reservation ^ 0x100, b"CLR", 0xaa)?;
    assert_eq!(code, code::RESERVATION, "a reservation that there is not");
    for (signature, action) in [(b"CLS", 0xaa), (b"RLC", 0xaa), (b"CLR", 0x55)] {
        let (code, _) = log.clear(reservation, signature, action)?;
        assert_eq!(code, code::DATA, "{signature:?}, {action:#x}");
    }
    assert_eq!(log.info()?.entries, 1, "entries that nothing has erased");
    let (code, data) = log.clear(reservation, b"CLR", 0x00)?;
    assert_eq!((code, &data[..]), (code::OK, &[1][..]), "the status of an erasure");
    assert_eq!(log.info()?.entries, 1, "entries after a question for the status");
    log.erase()
}

/// Would catch a reservation that is none, and one that is not canceled by the next (31.4, 33.11).
fn reservations(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    for command in [RESERVE_SEL, RESERVE_SDR] {
        let (old, new) = (log.reserve(command)?, log.reserve(command)?);
        assert!(old != 0 && new != 0, "reservations of {command:#x}: {old:#x}, {new:#x}");
        assert_ne!(old, new, "two reservations of {command:#x}");
    }
    let old = log.reserve(RESERVE_SEL)?;
    log.reserve(RESERVE_SEL)?;
    assert_eq!(log.clear(old, b"CLR", 0xaa)?.0, code::RESERVATION, "a canceled reservation");
    Ok(())
}

/// Would catch a Platform Event Message whose event is not in the log, or is with other bytes
/// (29.3, 32.1).
fn events(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    const PLATFORM_EVENT: u8 = 0x02;
    let log = Log(bmc);
    log.erase()?;
    for number in [1, 2] {
        let event = [0x41, 0x04, 0x01, number, 0x01, 0x50, 0xa0 | number, 0x30];
        bmc.get(SENSOR, PLATFORM_EVENT, &event)?;
        let (_, record) = log.entry(LAST)?;
        assert_eq!(record[2], 0x02, "the type of the record: a system event");
        assert_eq!(record[7..9], [0x41, 0x00], "who has generated it");
        assert_eq!(record[9..], event[1..], "the event");
    }
    assert_eq!(log.info()?.entries, 2, "entries");
    Ok(())
}

/// Would catch a clock of the log that stands still, runs at another speed, or does not take what
/// it is set to (31.10, 31.11).
fn sel_time(bmc: &dyn Ipmi, vm: &Rc<Vm>) -> Result<()> {
    const TIME: u32 = 0x5f00_1122;
    let now = || -> Result<u32> {
        let said = bmc.get(STORAGE, GET_SEL_TIME, &[])?;
        Ok(u32::from_le_bytes(said.as_slice().try_into().expect("four bytes")))
    };
    bmc.get(STORAGE, SET_SEL_TIME, &TIME.to_le_bytes())?;
    let start = now()?;
    assert!((TIME..=TIME + 1).contains(&start), "set to {TIME:#x}, it is {start:#x}");
    for seconds in [1, 60, 3600] {
        let before = now()?;
        vm.qtest().clock_step(Some(Duration::from_secs(seconds)))?;
        assert_eq!(u64::from(now()? - before), seconds, "the clock after {seconds} s");
    }
    Log(bmc).add(&record(9))?;
    let (_, bytes) = Log(bmc).entry(LAST)?;
    let stamp = u32::from_le_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
    assert_eq!(stamp, now()?, "the time of a record");
    Ok(())
}

/// The records of sensors, one after the other: the ID of each and its bytes.
fn records(log: &Log) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut all = Vec::new();
    let mut id = FIRST;
    while id != LAST && all.len() < 256 {
        let (code, data) = log.part(GET_SDR, (0, id), (0, ALL))?;
        assert_eq!(code, code::OK, "Get SDR of {id:#x}");
        let (next, bytes) = data.unwrap_or_default();
        all.push((word(&bytes), bytes));
        id = next;
    }
    Ok(all)
}

/// Would catch a repository whose records are not as many as it says, lead in a circle, or have
/// another length or version than their header says (33.9, 33.12, 43).
fn sdr(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    let info = bmc.get(STORAGE, GET_SDR_INFO, &[])?;
    assert_eq!((info.len(), info[0]), (14, 0x51), "Get SDR Repository Info: {info:02x?}");
    let all = records(&log)?;
    assert_eq!(all.len(), usize::from(word(&info[1..])), "records");
    for (id, bytes) in &all {
        assert_eq!(bytes[2], 0x51, "the version of record {id:#x}");
        assert_eq!(bytes.len(), 5 + usize::from(bytes[4]), "the length of record {id:#x}");
        let (code, data) = log.part(GET_SDR, (0, *id), (0, ALL))?;
        assert_eq!((code, data.map(|it| it.1)), (code::OK, Some(bytes.clone())), "{id:#x}");
    }
    let mut ids: Vec<u16> = all.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "every record has an ID of its own");
    assert_eq!(log.part(GET_SDR, (0, 0x4321), (0, ALL))?.0, code::NOT_PRESENT, "no such record");
    Ok(())
}

/// Would catch a part of a record that begins or ends elsewhere, and one behind its end (33.12).
fn sdr_parts(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let log = Log(bmc);
    let all = records(&log)?;
    let Some((id, whole)) = all.first() else {
        return Err(crate::Error::skipped("the controller has no records of sensors"));
    };
    let end = whole.len() as u8;
    let reservation = log.reserve(RESERVE_SDR)?;
    for (offset, length) in [(0, 5), (5, end - 5), (end - 1, 1), (3, 2)] {
        let (code, data) = log.part(GET_SDR, (reservation, *id), (offset, length))?;
        assert_eq!(code, code::OK, "{length} bytes at {offset}");
        let expected = &whole[usize::from(offset)..usize::from(offset + length)];
        assert_eq!(data.unwrap_or_default().1, expected, "{length} bytes at {offset}");
    }
    for (offset, length) in [(end, 1), (end - 1, 2), (0xfe, 0x20), (1, end)] {
        let (code, data) = log.part(GET_SDR, (reservation, *id), (offset, length))?;
        let inside = usize::from(end.saturating_sub(offset));
        let is_short = code == code::OK && data.is_some_and(|it| it.1.len() <= inside);
        assert!(is_short || code == code::RANGE, "{length} bytes at {offset} of {end}: {code:#x}");
    }
    let (code, _) = log.part(GET_SDR, (reservation ^ 0x100, *id), (5, 1))?;
    assert_eq!(code, code::RESERVATION, "a part with a reservation that there is not");
    Ok(())
}

/// A request for bytes of the inventory of device 0.
fn at(offset: u16, behind: &[u8]) -> Vec<u8> {
    let [low, high] = offset.to_le_bytes();
    [&[0, low, high][..], behind].concat()
}

/// How many bytes the inventory of device 0 has.
fn fru_size(bmc: &dyn Ipmi) -> Result<u16> {
    let said = bmc.get(STORAGE, GET_FRU_INFO, &[0])?;
    assert_eq!((said.len(), said[2] & 1), (3, 0), "Get FRU Inventory Area Info: {said:02x?}");
    match word(&said) {
        0 => Err(crate::Error::skipped("the controller has no inventory")),
        size => Ok(size),
    }
}

/// Would catch bytes of the inventory that are written elsewhere, or not kept (34.1 to 34.3).
fn fru(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let size = fru_size(bmc)?;
    for (offset, byte) in [(0u16, 0x10u8), (8, 0x20), (size - 4, 0x30)] {
        let written = [byte, byte + 1, byte + 2, byte + 3];
        assert_eq!(bmc.get(STORAGE, WRITE_FRU, &at(offset, &written))?, [4], "bytes written");
        let read = bmc.get(STORAGE, READ_FRU, &at(offset, &[4]))?;
        assert_eq!(read, [&[4], &written[..]].concat(), "what is read at {offset:#x}");
    }
    let between = bmc.get(STORAGE, READ_FRU, &at(2, &[8]))?;
    assert_eq!(
        (between[0], &between[1..3], &between[7..]),
        (8, &[0x12, 0x13][..], &[0x20, 0x21][..])
    );
    let (code, _) = bmc.ask(STORAGE, GET_FRU_INFO, &[1])?;
    let is_refused = matches!(code, code::NOT_PRESENT | code::DATA | code::RANGE);
    assert!(is_refused, "a device that there is not: {code:#x}");
    Ok(())
}

/// Would catch bytes behind the end of the inventory that are read or written (34.2, 34.3).
fn fru_end(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    let size = fru_size(bmc)?;
    for (offset, count) in [(size, 1u8), (size - 1, 0x20), (0xfff0, 0x20), (0xffff, 1)] {
        let (code, data) = bmc.ask(STORAGE, READ_FRU, &at(offset, &[count]))?;
        let inside = size.saturating_sub(offset).min(count.into());
        let is_right = match code {
            code::OK => inside > 0 && data.len() == 1 + usize::from(inside),
            code => matches!(code, code::RANGE | code::DATA) && data.is_empty(),
        };
        assert!(is_right, "{count} bytes read at {offset:#x}: {code:#x}, {data:02x?}");
        let (code, data) = bmc.ask(STORAGE, WRITE_FRU, &at(offset, &vec![0xee; count.into()]))?;
        let is_right = match code {
            code::OK => inside > 0 && data == [inside as u8],
            code => matches!(code, code::RANGE | code::DATA),
        };
        assert!(is_right, "{count} bytes written at {offset:#x}: {code:#x}, {data:02x?}");
    }
    bmc.get(STORAGE, GET_SEL_INFO, &[])?;
    Ok(())
}

/// Would catch a request for bytes of the inventory that is too short and is done with bytes that
/// are not there (34.2, 34.3).
fn fru_lengths(bmc: &dyn Ipmi, _: &Rc<Vm>) -> Result<()> {
    fru_size(bmc)?;
    for (command, needed) in [(READ_FRU, 4), (WRITE_FRU, 3)] {
        for length in [0, needed - 1] {
            let (code, _) = bmc.ask(STORAGE, command, &vec![0; length])?;
            let is_refused = matches!(code, code::TRUNCATED | code::LENGTH);
            assert!(is_refused, "{length} bytes for {command:#x}: {code:#x}");
        }
    }
    Ok(())
}
