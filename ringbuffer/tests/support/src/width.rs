//! The widths and byte orders of the integers that rings and cursors read and write.

use ringwheel_ringbuffer::{Cursor, LimitExceeded, RingBuffer};

/// An integer's size and byte order.
#[derive(Clone, Copy, Debug)]
pub enum Width {
    U8,
    U16Be,
    U16Le,
    U32Be,
    U32Le,
    U64Be,
    U64Le,
}

impl Width {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Width::U8 => 1,
            Width::U16Be | Width::U16Le => 2,
            Width::U32Be | Width::U32Le => 4,
            Width::U64Be | Width::U64Le => 8,
        }
    }

    fn is_little_endian(self) -> bool {
        matches!(self, Width::U16Le | Width::U32Le | Width::U64Le)
    }

    /// The low bytes of `value`, in this byte order.
    pub(crate) fn encode(self, value: u64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..self.bytes()].to_vec();
        if !self.is_little_endian() {
            bytes.reverse();
        }
        bytes
    }

    pub(crate) fn decode(self, mut bytes: Vec<u8>) -> u64 {
        if !self.is_little_endian() {
            bytes.reverse();
        }
        bytes.resize(8, 0);
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }
}

pub(crate) fn put(ring: &mut RingBuffer, width: Width, value: u64) -> Result<(), LimitExceeded> {
    match width {
        Width::U8 => ring.put_u8(value as u8),
        Width::U16Be => ring.put_u16_be(value as u16),
        Width::U16Le => ring.put_u16_le(value as u16),
        Width::U32Be => ring.put_u32_be(value as u32),
        Width::U32Le => ring.put_u32_le(value as u32),
        Width::U64Be => ring.put_u64_be(value),
        Width::U64Le => ring.put_u64_le(value),
    }
}

pub(crate) fn peek(ring: &RingBuffer, width: Width, offset: usize) -> Option<u64> {
    match width {
        Width::U8 => ring.peek_u8(offset).map(u64::from),
        Width::U16Be => ring.peek_u16_be(offset).map(u64::from),
        Width::U16Le => ring.peek_u16_le(offset).map(u64::from),
        Width::U32Be => ring.peek_u32_be(offset).map(u64::from),
        Width::U32Le => ring.peek_u32_le(offset).map(u64::from),
        Width::U64Be => ring.peek_u64_be(offset),
        Width::U64Le => ring.peek_u64_le(offset),
    }
}

pub(crate) fn read(ring: &mut RingBuffer, width: Width) -> Option<u64> {
    match width {
        Width::U8 => ring.read_u8().map(u64::from),
        Width::U16Be => ring.read_u16_be().map(u64::from),
        Width::U16Le => ring.read_u16_le().map(u64::from),
        Width::U32Be => ring.read_u32_be().map(u64::from),
        Width::U32Le => ring.read_u32_le().map(u64::from),
        Width::U64Be => ring.read_u64_be(),
        Width::U64Le => ring.read_u64_le(),
    }
}

pub(crate) fn cursor_peek(cursor: &Cursor<'_>, width: Width) -> Option<u64> {
    match width {
        Width::U8 => cursor.peek_u8().map(u64::from),
        Width::U16Be => cursor.peek_u16_be().map(u64::from),
        Width::U16Le => cursor.peek_u16_le().map(u64::from),
        Width::U32Be => cursor.peek_u32_be().map(u64::from),
        Width::U32Le => cursor.peek_u32_le().map(u64::from),
        Width::U64Be => cursor.peek_u64_be(),
        Width::U64Le => cursor.peek_u64_le(),
    }
}

pub(crate) fn cursor_read(cursor: &mut Cursor<'_>, width: Width) -> Option<u64> {
    match width {
        Width::U8 => cursor.read_u8().map(u64::from),
        Width::U16Be => cursor.read_u16_be().map(u64::from),
        Width::U16Le => cursor.read_u16_le().map(u64::from),
        Width::U32Be => cursor.read_u32_be().map(u64::from),
        Width::U32Le => cursor.read_u32_le().map(u64::from),
        Width::U64Be => cursor.read_u64_be(),
        Width::U64Le => cursor.read_u64_le(),
    }
}
