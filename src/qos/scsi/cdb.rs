//! Commands of SCSI, byte for byte (SPC-4, SBC-3).

/// The size of a block of a disk in bytes.
pub const BLOCK: usize = 512;
/// TEST UNIT READY (SPC-4, 6.47).
pub const TEST_UNIT_READY: [u8; 6] = [0; 6];
/// READ CAPACITY (10) (SBC-3, 5.15).
pub const READ_CAPACITY_10: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// SYNCHRONIZE CACHE (10) of all blocks (SBC-3, 5.22).
pub const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// READ CAPACITY (16) of `length` bytes (SBC-3, 5.16).
pub fn read_capacity_16(length: u8) -> [u8; 16] {
    [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0]
}

/// INQUIRY of `length` bytes (SPC-4, 6.6).
pub fn inquiry(length: u8) -> [u8; 6] {
    [0x12, 0, 0, 0, length, 0]
}

/// INQUIRY of a page of vital product data.
pub fn vital(page: u8, length: u8) -> [u8; 6] {
    [0x12, 1, page, 0, length, 0]
}

/// REQUEST SENSE of `length` bytes, fixed format (SPC-4, 6.39).
pub fn request_sense(length: u8) -> [u8; 6] {
    [0x03, 0, 0, 0, length, 0]
}

/// MODE SENSE (6) of `length` bytes, current values (SPC-4, 6.13).
pub fn mode_sense_6(page: u8, length: u8) -> [u8; 6] {
    [0x1a, 0, page, 0, length, 0]
}

/// MODE SENSE (10) of `length` bytes, current values (SPC-4, 6.14).
pub fn mode_sense_10(page: u8, length: u8) -> [u8; 10] {
    [0x5a, 0, page, 0, 0, 0, 0, 0, length, 0]
}

/// REPORT LUNS of `length` bytes (SPC-4, 6.33).
pub fn report_luns(length: u8) -> [u8; 12] {
    [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0]
}

/// A READ, or a WRITE if `is_write`, of 6, 10, 12 or 16 bytes (SBC-3, 5.10 to 5.13, 5.30 to
/// 5.33). The one of 6 bytes has 21 bits for the block, and 0 for 256 blocks.
///
/// # Panics
/// If there is none of `length` bytes, or of 6 and the block is too large for it.
pub fn transfer(length: usize, is_write: bool, block: u32, count: u16) -> Vec<u8> {
    let operation = match length {
        6 => 0x08,
        10 => 0x28,
        12 => 0xa8,
        16 => 0x88,
        _ => panic!("no READ of {length} bytes"),
    } + if is_write { 2 } else { 0 };
    let ([b0, b1, b2, b3], [c0, c1]) = (block.to_be_bytes(), count.to_be_bytes());
    match length {
        6 => {
            assert!(block < 1 << 21 && count <= 256, "a READ of 6 bytes");
            vec![operation, b1, b2, b3, c1, 0]
        }
        10 => vec![operation, 0, b0, b1, b2, b3, 0, c0, c1, 0],
        12 => vec![operation, 0, b0, b1, b2, b3, 0, 0, c0, c1, 0, 0],
        _ => vec![operation, 0, 0, 0, 0, 0, b0, b1, b2, b3, 0, 0, c0, c1, 0, 0],
    }
}

/// A READ (16), or a WRITE (16) if `is_write`, of a block of 64 bits.
pub fn transfer_far(is_write: bool, block: u64, count: u16) -> Vec<u8> {
    let operation = if is_write { 0x8a } else { 0x88 };
    let mut cdb = vec![operation, 0];
    cdb.extend(block.to_be_bytes());
    cdb.extend(u32::from(count).to_be_bytes());
    cdb.extend([0, 0]);
    cdb
}

/// VERIFY (10) without comparing bytes (SBC-3, 5.26).
pub fn verify(block: u32, count: u16) -> [u8; 10] {
    let ([b0, b1, b2, b3], [c0, c1]) = (block.to_be_bytes(), count.to_be_bytes());
    [0x2f, 0, b0, b1, b2, b3, 0, c0, c1, 0]
}

/// WRITE SAME (10) (SBC-3, 5.44).
pub fn write_same(block: u32, count: u16) -> [u8; 10] {
    let ([b0, b1, b2, b3], [c0, c1]) = (block.to_be_bytes(), count.to_be_bytes());
    [0x41, 0, b0, b1, b2, b3, 0, c0, c1, 0]
}
