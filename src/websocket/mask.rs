//! Masking (RFC 6455, section 5.3): the payload XOR a key of four bytes, repeated.

/// A frame's masking key.
pub(crate) type Key = [u8; 4];

/// Masks or unmasks `bytes` in place, whose first lies `offset` bytes into the frame's payload.
///
/// Whole words and no early end, so that it compiles to vector instructions.
#[inline]
pub(crate) fn apply(bytes: &mut [u8], key: Key, offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let narrow = u64::from(u32::from_ne_bytes(key));
    let wide = narrow << 32 | narrow;
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(array) = <&mut [u8; 8]>::try_from(word) {
            *array = (u64::from_ne_bytes(*array) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6455_section_5_7_hello() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn every_length_and_offset_is_as_byte_by_byte() {
        let key = [0x12, 0x00, 0xff, 0xa5];
        for length in 0..100 {
            for offset in 0..9 {
                let original: Vec<u8> = (0..length).map(|i: u8| i.wrapping_mul(37)).collect();
                let expected: Vec<u8> = original
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| byte ^ key[(i + offset) % 4])
                    .collect();
                let mut bytes = original.clone();
                apply(&mut bytes, key, offset);
                assert_eq!(bytes, expected, "{length} bytes at {offset}");
            }
        }
    }
}
