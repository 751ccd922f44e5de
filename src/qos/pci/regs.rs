//! Registers and bits of the PCI configuration space, by the names of the PCI Local Bus
//! Specification 3.0, chapter 6.

/// Vendor ID, 16 bits.
pub const VENDOR_ID: u16 = 0x00;
/// Device ID, 16 bits.
pub const DEVICE_ID: u16 = 0x02;
/// Command, 16 bits (6.2.2).
pub const COMMAND: u16 = 0x04;
/// Status, 16 bits (6.2.3).
pub const STATUS: u16 = 0x06;
/// Revision ID, 8 bits; the class code's three bytes follow.
pub const REVISION_ID: u16 = 0x08;
/// Programming interface, 8 bits.
pub const CLASS_PROG: u16 = 0x09;
/// Sub-class and base class, 16 bits.
pub const CLASS_DEVICE: u16 = 0x0a;
/// Header type, 8 bits.
pub const HEADER_TYPE: u16 = 0x0e;
/// Base address register 0, 32 bits (6.2.5.1).
pub const BASE_ADDRESS_0: u16 = 0x10;
/// Subsystem vendor ID, 16 bits (6.2.4).
pub const SUBSYSTEM_VENDOR_ID: u16 = 0x2c;
/// Subsystem ID, 16 bits.
pub const SUBSYSTEM_ID: u16 = 0x2e;
/// Capabilities pointer, 8 bits (6.7).
pub const CAPABILITY_LIST: u16 = 0x34;
/// Interrupt line, 8 bits.
pub const INTERRUPT_LINE: u16 = 0x3c;
/// Interrupt pin, 8 bits.
pub const INTERRUPT_PIN: u16 = 0x3d;

/// Header type: the layout of the rest.
pub const HEADER_LAYOUT: u8 = 0x7f;
/// Header type: the device has further functions.
pub const HEADER_MULTI_FUNCTION: u8 = 1 << 7;

/// Capability: power management (PCI Power Management 1.2, 3.2).
pub const CAPABILITY_POWER_MANAGEMENT: u8 = 0x01;

/// Command: respond to I/O accesses.
pub const COMMAND_IO: u16 = 1 << 0;
/// Command: respond to memory accesses.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: act as a bus master.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// Command: the interrupt pin is not asserted.
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Command: reserved bits, zero.
pub const COMMAND_RESERVED: u16 = 0xf800;

/// Status: reserved.
pub const STATUS_RESERVED: u16 = 0x0007;
/// Status: the function asserts its interrupt pin.
pub const STATUS_INTERRUPT: u16 = 1 << 3;
/// Status: there is a capability list.
pub const STATUS_CAP_LIST: u16 = 1 << 4;
/// Status: the errors, cleared by writing ones; all other bits are read-only.
pub const STATUS_ERRORS: u16 = 0xf900;

/// Base address: it is I/O space.
pub const BASE_ADDRESS_SPACE_IO: u32 = 1 << 0;
/// Base address, memory: the type bits.
pub const BASE_ADDRESS_MEM_TYPE: u32 = 3 << 1;
/// Base address, memory: 64 bits wide.
pub const BASE_ADDRESS_MEM_TYPE_64: u32 = 2 << 1;
/// Base address, I/O: the bits that are no address.
pub const BASE_ADDRESS_IO_FLAGS: u32 = 0x3;
/// Base address, memory: the bits that are no address.
pub const BASE_ADDRESS_MEM_FLAGS: u32 = 0xf;
