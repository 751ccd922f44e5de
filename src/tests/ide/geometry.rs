//! Sectors of IDE disks by cylinder, head and sector: the default translation, others that are set,
//! and addresses that no track has (ATA/ATAPI-5, whose sections are cited).

use std::rc::Rc;

use super::disk::{SECTORS, assert_failed, image, pattern, set_image, start};
use crate::qemu::Vm;
use crate::qos::ide::{
    ERROR_ABORT, ERROR_NOT_FOUND, End, IdeChannel, IdeController, SECTOR, Task, command,
};
use crate::{Result, attacks, tests};

tests!(IdeController, "ide":
    default = "geometry/default",
    set = "geometry/set",
    set_told = "geometry/set-told",
    beyond = "geometry/beyond",
    refused = "geometry/refused",
);
attacks!(IdeController, "ide-attacks": set = "geometry/set");

/// A translation: how many heads there are, and sectors on a track.
type Translation = (u8, u8);

/// Where a sector is with a translation.
fn address(sector: u64, (heads, sectors): Translation) -> (u16, u8, u8) {
    let (track, rest) = (sector / u64::from(sectors), sector % u64::from(sectors));
    let (cylinder, head) = (track / u64::from(heads), track % u64::from(heads));
    (cylinder as u16, head as u8, rest as u8 + 1)
}

/// INITIALIZE DEVICE PARAMETERS (8.16): the last head is in the device register.
fn initialize(channel: &IdeChannel, (heads, sectors): Translation) -> Result<End> {
    let task = Task::chs(command::INITIALIZE, (0, heads - 1, 0), sectors.into());
    channel.no_data(0, &task)
}

/// What IDENTIFY DEVICE says of a translation in three words: cylinders, heads, sectors.
fn told(words: &[u16], at: [usize; 3]) -> (u64, Translation) {
    let [cylinders, heads, sectors] = at.map(|at| words[at]);
    (cylinders.into(), (heads as u8, sectors as u8))
}

/// The words of the default translation, and of that in force (8.12).
const DEFAULT: [usize; 3] = [1, 3, 6];
const CURRENT: [usize; 3] = [54, 55, 56];

/// Asserts that sectors here and there are read and written where the translation says.
fn assert_translated(channel: &IdeChannel, vm: &Vm, translation: Translation) -> Result<()> {
    let (heads, sectors) = (u64::from(translation.0), u64::from(translation.1));
    let last = (SECTORS / (heads * sectors)).min(0xffff) * heads * sectors - 1;
    for first in [0, sectors - 1, sectors, heads * sectors, 12_345.min(last), last] {
        let what = format!("sector {first}, {heads} heads, {sectors} sectors on a track");
        let task = |command| Task::chs(command, address(first, translation), 1);
        let data = pattern(first as usize, 1);
        set_image(vm, first, &data)?;
        let (end, found) = channel.read_pio(0, &task(command::READ), SECTOR, SECTOR)?;
        end.good(&what)?;
        assert!(found == data, "{what}: READ SECTORS");
        let data = pattern(first as usize + 1, 1);
        let (end, _) = channel.write_pio(0, &task(command::WRITE), &data, SECTOR)?;
        end.good(&what)?;
        assert!(image(vm, first, SECTOR)? == data, "{what}: WRITE SECTORS");
    }
    Ok(())
}

/// Would catch a default translation that reaches beyond the disk, that is not in force at first, or
/// by which sectors are elsewhere than by their number (8.12).
fn default(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let words = channel.identify(0, command::IDENTIFY)?;
    let (cylinders, translation) = told(&words, DEFAULT);
    let (heads, sectors) = (u64::from(translation.0), u64::from(translation.1));
    assert!((1..=16).contains(&heads) && (1..=255).contains(&sectors), "{translation:?}");
    assert!(
        cylinders > 0 && cylinders * heads * sectors <= SECTORS,
        "{cylinders}, {translation:?}"
    );
    initialize(channel, translation)?.good("the default translation, set")?;
    let words = channel.identify(0, command::IDENTIFY)?;
    assert_eq!(words[53] & 1, 1, "words 54 to 58 are valid");
    assert_eq!(told(&words, CURRENT), (cylinders, translation), "the translation in force");
    let capacity = u64::from(words[57]) | u64::from(words[58]) << 16;
    assert_eq!(capacity, cylinders * heads * sectors, "words 57 and 58");
    assert_translated(channel, vm, translation)
}

/// Would catch a translation that is set and not in force, and one that changes sectors by their
/// number.
fn set(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let (_, default) = told(&channel.identify(0, command::IDENTIFY)?, DEFAULT);
    for translation in [(4, 17), (16, 63), (1, 1), (15, 32), (3, 255)] {
        initialize(channel, translation)?.good(&format!("{translation:?}"))?;
        assert_translated(channel, vm, translation)?;
        let data = pattern(5, 2);
        set_image(vm, 700, &data)?;
        let task = Task::short(command::READ, 700, 2);
        let (end, found) = channel.read_pio(0, &task, 2 * SECTOR, SECTOR)?;
        end.good("READ SECTORS by number")?;
        assert!(found == data, "{translation:?}: sectors by number");
    }
    initialize(channel, default)?.good("the default translation")
}

/// Would catch IDENTIFY DEVICE that does not tell which translation is in force, or tells it for the
/// default one (8.12).
fn set_told(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let default = told(&channel.identify(0, command::IDENTIFY)?, DEFAULT);
    for translation in [(4, 17), (15, 32)] {
        initialize(channel, translation)?.good(&format!("{translation:?}"))?;
        let words = channel.identify(0, command::IDENTIFY)?;
        assert_eq!(told(&words, DEFAULT), default, "{translation:?}: the default translation");
        assert_eq!(told(&words, CURRENT).1, translation, "the translation in force");
        let track = u64::from(translation.0) * u64::from(translation.1);
        let capacity = u64::from(words[57]) | u64::from(words[58]) << 16;
        assert_eq!(capacity, told(&words, CURRENT).0 * track, "{translation:?}: words 57 and 58");
        assert!(capacity <= SECTORS, "{translation:?}: {capacity} sectors");
    }
    initialize(channel, default.1)?.good("the default translation")
}

/// Would catch a sector, a head or a cylinder that is not there, and that is read as another.
fn beyond(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let (_, default) = told(&channel.identify(0, command::IDENTIFY)?, DEFAULT);
    initialize(channel, (4, 17))?.good("a translation")?;
    set_image(vm, 0, &pattern(1, 200))?;
    let off = [ERROR_ABORT, ERROR_NOT_FOUND, ERROR_ABORT | ERROR_NOT_FOUND];
    // Nothing of the disk is at cylinder 65535.
    for address in [(0xffff, 3, 17), (0xffff, 0, 1)] {
        for command in [command::READ, command::WRITE] {
            let task = Task::chs(command, address, 1);
            let end = match command {
                command::READ => channel.read_pio(0, &task, SECTOR, SECTOR)?.0,
                _ => channel.write_pio(0, &task, &[0x11; SECTOR], SECTOR)?.0,
            };
            assert_failed(end, &off, &format!("command {command:#x} of {address:?}"));
        }
    }
    initialize(channel, default)?.good("the default translation")
}

/// Would catch a translation without a sector on a track, which is taken, and by which QEMU divides
/// or every sector is the first one (8.16).
fn refused(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let (_, default) = told(&channel.identify(0, command::IDENTIFY)?, DEFAULT);
    set_image(vm, 0, &pattern(1, 4))?;
    let end = initialize(channel, (4, 0))?;
    // Before it is judged: it must not end QEMU, whatever is done with it.
    for address in [(0, 0, 1), (1, 1, 1), (0, 3, 2)] {
        for task in [Task::chs(command::READ, address, 2), Task::chs(command::VERIFY, address, 1)] {
            let _ = channel.read_pio(0, &task, 2 * SECTOR, SECTOR)?;
        }
    }
    channel.identify(0, command::IDENTIFY)?;
    initialize(channel, default)?.good("the default translation")?;
    assert_translated(channel, vm, default)?;
    assert_failed(end, &[ERROR_ABORT], "no sector on a track");
    Ok(())
}
