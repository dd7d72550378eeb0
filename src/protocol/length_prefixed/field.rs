//! The length field as a number in the frame: its width and byte order. The meaning of the number is left to the parent
//! module.

use super::Output;

/// A field of 1 to 8 bytes that holds an unsigned number.
#[derive(Clone, Copy, Debug)]
pub(super) struct LengthField {
    order: ByteOrder,
    /// Bytes, 1 to 8.
    width: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ByteOrder {
    BigEndian,
    LittleEndian,
}

impl LengthField {
    /// # Panics
    /// If `width` is not 1 to 8.
    pub(super) const fn new(width: usize, order: ByteOrder) -> Self {
        assert!(width >= 1 && width <= 8, "a length field has 1 to 8 bytes");
        LengthField { order, width }
    }

    /// Width of the field in bytes.
    #[inline]
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    pub(super) const fn is_u32_be(&self) -> bool {
        self.width == 4 && matches!(self.order, ByteOrder::BigEndian)
    }

    /// The highest number that the field can hold.
    #[inline]
    pub(super) fn max_value(&self) -> u64 {
        u64::MAX >> self.unused_bits()
    }

    /// Bits that a u64 has and the field does not.
    #[inline]
    fn unused_bits(&self) -> usize {
        64 - 8 * self.width
    }

    /// The number at the front of `input`, which contains at least the whole field.
    #[inline]
    pub(super) fn read(&self, input: &[u8]) -> u64 {
        debug_assert!(input.len() >= self.width, "the field is whole");
        // Eight bytes are read for every width, and the bytes after the field are shifted out.
        let word = input.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..input.len()].copy_from_slice(input);
            word
        });
        match self.order {
            ByteOrder::BigEndian => u64::from_be_bytes(word) >> self.unused_bits(),
            ByteOrder::LittleEndian => {
                u64::from_le_bytes(word) << self.unused_bits() >> self.unused_bits()
            }
        }
    }

    /// Writes a number, which is at most [`max_value`](Self::max_value).
    pub(super) fn write(&self, number: u64, output: &mut Output) {
        debug_assert!(number <= self.max_value(), "the number fits");
        let word = match self.order {
            ByteOrder::BigEndian => (number << self.unused_bits()).to_be_bytes(),
            ByteOrder::LittleEndian => number.to_le_bytes(),
        };
        output.put_slice(&word[..self.width]);
    }
}
