//! What a machine shows: the pixels that the monitor's command `screendump` writes.

use std::rc::Rc;

use serde_json::json;

use super::Colour;
use crate::qemu::{Image, MIB, Vm};
use crate::qos::registers::Registers;
use crate::{Error, Result, interface};

/// The file that a screen is written to; every card that is looked at names it among its images.
pub const SCREEN: Image = Image { name: "screen", size: MIB };

/// What a screen showed: rows of pixels, the uppermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Red, green and blue of each pixel.
    rgb: Vec<u8>,
}

/// The longest header of a picture.
const LONGEST_HEADER: u64 = 24;

/// What the first screen of the machine shows now.
///
/// # Errors
/// Returns an error if QEMU cannot write it, or writes no portable pixmap (PPM, format P6).
pub fn dump(vm: &Vm) -> Result<Picture> {
    dump_by(vm, json!({}))
}

/// What a screen of the device with this identifier shows now: its first has the number 0.
///
/// # Errors
/// As [`dump`], and if there is no such screen.
pub fn dump_of(vm: &Vm, device: &str, head: u32) -> Result<Picture> {
    dump_by(vm, json!({ "device": device, "head": head }))
}

fn dump_by(vm: &Vm, which: serde_json::Value) -> Result<Picture> {
    let (width, height, start) = dump_header(vm, which)?;
    let mut rgb = vec![0; width * height * 3];
    vm.read_image(SCREEN.name, start, &mut rgb)?;
    Ok(Picture { width, height, rgb })
}

/// Has QEMU draw and write what the first screen shows, and reads no more than its size.
///
/// # Errors
/// As [`dump`].
pub fn dump_size(vm: &Vm) -> Result<(usize, usize)> {
    dump_header(vm, json!({})).map(|(width, height, _)| (width, height))
}

fn dump_header(vm: &Vm, which: serde_json::Value) -> Result<(usize, usize, u64)> {
    let mut arguments = which;
    arguments["filename"] = json!(vm.image_path(SCREEN.name)?);
    vm.qmp().execute("screendump", arguments)?;
    let mut header = String::new();
    while header.matches('\n').count() < 3 {
        let mut byte = [0];
        vm.read_image(SCREEN.name, header.len() as u64, &mut byte)?;
        header.push(byte[0].into());
        if header.len() as u64 > LONGEST_HEADER {
            break;
        }
    }
    let words: Vec<&str> = header.split_ascii_whitespace().collect();
    let number = |word: &str| word.parse::<usize>().ok();
    if let ["P6", width, height, "255"] = words[..]
        && let (Some(width), Some(height)) = (number(width), number(height))
    {
        return Ok((width, height, header.len() as u64));
    }
    Err(Error::failed(format!("screendump wrote no picture, but {header:?}")))
}

impl Picture {
    /// The pixel in column `x` of row `y`.
    pub fn pixel(&self, x: usize, y: usize) -> Colour {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// Compares every pixel with the one that `expected` makes of its column and row, in the bits
    /// of `mask`. `what` says what is shown.
    ///
    /// # Panics
    /// Panics, with the first pixel that differs and how many do, if the size or a pixel differs.
    #[track_caller]
    pub fn assert_shows(
        &self,
        what: &str,
        size: (usize, usize),
        mask: Colour,
        expected: impl Fn(usize, usize) -> Colour,
    ) {
        assert_eq!((self.width, self.height), size, "{what}: width and height");
        let masked = |colour: Colour| [0, 1, 2].map(|at| colour[at] & mask[at]);
        let all = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y)));
        let mut wrong = all.filter(|&(x, y)| masked(self.pixel(x, y)) != masked(expected(x, y)));
        if let Some((x, y)) = wrong.next() {
            let (is, should) = (self.pixel(x, y), expected(x, y));
            panic!(
                "{what}: the pixel in column {x} of row {y} is {is:02x?}, not {should:02x?} (in \
                 the bits {mask:02x?}), and {} others differ",
                wrong.count()
            );
        }
    }
}

/// The identification data of a monitor, as a card gives it to a guest in registers.
pub struct Edid(
    /// The bytes, from offset 0 on.
    pub Rc<dyn Registers>,
);

interface!(Edid = "edid");
