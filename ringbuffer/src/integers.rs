//! Fixed-width integers: appended and read at the ends of a ring, and read under its cursor.

use crate::{Cursor, LimitExceeded, RingBuffer};

macro_rules! integers {
    ($($int:ident $order:literal $put:ident $peek:ident $read:ident $to:ident $from:ident;)*) => {
        /// Integers: `put_*` appends, `peek_*` looks at any offset, `read_*` takes from the front.
        impl RingBuffer {
            $(
                #[doc = concat!("Appends a `", stringify!($int), "`", $order, ".")]
                ///
                /// # Errors
                ///
                /// [`LimitExceeded`] if it does not fit within the ring's limit; nothing is
                /// changed then.
                #[inline]
                pub fn $put(&mut self, value: $int) -> Result<(), LimitExceeded> {
                    self.extend_from_slice(&value.$to())
                }

                #[doc = concat!("The `", stringify!($int), "`", $order, " that lies `offset` ")]
                /// bytes behind the first readable one, or `None` while its bytes are not all
                /// there.
                #[inline]
                pub fn $peek(&self, offset: usize) -> Option<$int> {
                    self.peek_array(offset).map($int::$from)
                }

                #[doc = concat!("Takes a `", stringify!($int), "`", $order, " from the front, ")]
                /// or `None` and nothing while its bytes are not all there.
                #[inline]
                pub fn $read(&mut self) -> Option<$int> {
                    self.read_array().map($int::$from)
                }
            )*
        }

        /// Integers: `peek_*` looks, `read_*` also advances.
        impl Cursor<'_> {
            $(
                #[doc = concat!("The `", stringify!($int), "`", $order, " under the cursor, ")]
                /// or `None` while its bytes are not all there. Does not advance.
                #[inline]
                pub fn $peek(&self) -> Option<$int> {
                    self.peek_array().map($int::$from)
                }

                #[doc = concat!("The `", stringify!($int), "`", $order, " under the cursor, ")]
                /// which advances past it, or `None` while its bytes are not all there.
                #[inline]
                pub fn $read(&mut self) -> Option<$int> {
                    self.read_array().map($int::$from)
                }
            )*
        }
    };
}

integers! {
    u8 "" put_u8 peek_u8 read_u8 to_be_bytes from_be_bytes;
    u16 " in big-endian order" put_u16_be peek_u16_be read_u16_be to_be_bytes from_be_bytes;
    u16 " in little-endian order" put_u16_le peek_u16_le read_u16_le to_le_bytes from_le_bytes;
    u32 " in big-endian order" put_u32_be peek_u32_be read_u32_be to_be_bytes from_be_bytes;
    u32 " in little-endian order" put_u32_le peek_u32_le read_u32_le to_le_bytes from_le_bytes;
    u64 " in big-endian order" put_u64_be peek_u64_be read_u64_be to_be_bytes from_be_bytes;
    u64 " in little-endian order" put_u64_le peek_u64_le read_u64_le to_le_bytes from_le_bytes;
}

#[cfg(test)]
mod tests {
    use crate::{LimitExceeded, RingBuffer};

    #[test]
    fn both_orders_at_both_ends() {
        let mut ring = RingBuffer::new();
        ring.put_u8(0x01).unwrap();
        ring.put_u16_be(0x0203).unwrap();
        ring.put_u16_le(0x0504).unwrap();
        ring.put_u32_be(0x0607_0809).unwrap();
        ring.put_u32_le(0x0d0c_0b0a).unwrap();
        ring.put_u64_be(0x0e0f_1011_1213_1415).unwrap();
        ring.put_u64_le(0x1d1c_1b1a_1918_1716).unwrap();
        let ascending: Vec<u8> = (0x01..=0x1d).collect();
        assert_eq!(ring.contiguous(), ascending);

        assert_eq!(ring.peek_u8(0), Some(0x01));
        assert_eq!(ring.peek_u16_be(1), Some(0x0203));
        assert_eq!(ring.peek_u16_le(3), Some(0x0504));
        assert_eq!(ring.peek_u32_be(5), Some(0x0607_0809));
        assert_eq!(ring.peek_u32_le(9), Some(0x0d0c_0b0a));
        assert_eq!(ring.peek_u64_be(13), Some(0x0e0f_1011_1213_1415));
        assert_eq!(ring.peek_u64_le(21), Some(0x1d1c_1b1a_1918_1716));

        assert_eq!(ring.read_u8(), Some(0x01));
        assert_eq!(ring.read_u16_be(), Some(0x0203));
        assert_eq!(ring.read_u16_le(), Some(0x0504));
        assert_eq!(ring.read_u32_be(), Some(0x0607_0809));
        assert_eq!(ring.read_u32_le(), Some(0x0d0c_0b0a));
        assert_eq!(ring.read_u64_be(), Some(0x0e0f_1011_1213_1415));
        assert_eq!(ring.read_u64_le(), Some(0x1d1c_1b1a_1918_1716));
        assert!(ring.is_empty());
    }

    #[test]
    fn an_integer_is_read_whole_or_not_at_all() {
        let mut ring = RingBuffer::new();
        ring.extend_from_slice(&[1, 2, 3]).unwrap();
        assert_eq!(ring.read_u32_be(), None);
        assert_eq!(ring.peek_u16_be(2), None);
        assert_eq!(ring.len(), 3);
    }

    #[test]
    fn an_integer_is_appended_whole_or_not_at_all() {
        let mut ring = RingBuffer::with_limit(7);
        assert_eq!(ring.put_u64_le(1), Err(LimitExceeded));
        assert!(ring.is_empty());
    }
}
