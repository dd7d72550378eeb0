//! Masking (RFC 6455, section 5.3): the payload XOR a key of four bytes, repeated.

/// A frame's masking key.
pub(crate) type Key = [u8; 4];

/// Masks or unmasks `bytes` in place. The first of them stands `offset` bytes into the frame's payload.
#[inline]
pub(crate) fn apply(bytes: &mut [u8], key: Key, offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let narrow = u64::from(u32::from_ne_bytes(key));
    let wide = (narrow << 32) | narrow;
    if bytes.len() >= LONG {
        apply_long(bytes, wide);
    } else {
        apply_words(bytes, wide);
    }
}

/// The length from which on it is worth asking what the processor can do.
const LONG: usize = 128;

/// Works in whole words and without an early end, so that it compiles to the widest vectors that the target has.
#[inline(always)]
fn apply_words(bytes: &mut [u8], wide: u64) {
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(array) = <&mut [u8; 8]>::try_from(word) {
            *array = (u64::from_ne_bytes(*array) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// Works with 32 bytes at a time where the processor can. With the 16 bytes that every x86-64 can, masking has a third of
/// memcpy's speed.
#[cfg(target_arch = "x86_64")]
fn apply_long(bytes: &mut [u8], wide: u64) {
    #[target_feature(enable = "avx2")]
    #[expect(
        unsafe_code,
        reason = "safe code, compiled for processors with AVX2; a call on another one would be undefined behaviour"
    )]
    unsafe fn apply_with_avx2(bytes: &mut [u8], wide: u64) {
        // Aligned vectors do not cross cache lines, which doubles the speed.
        let head = bytes.as_ptr().align_offset(32).min(bytes.len());
        let (head, body) = bytes.split_at_mut(head);
        let mut key = wide.to_ne_bytes();
        key.rotate_left(head.len() % 8);
        apply_words(head, wide);
        apply_words(body, u64::from_ne_bytes(key));
    }

    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(
            unsafe_code,
            reason = "the one precondition of the function is checked above"
        )]
        // SAFETY: the processor has AVX2, as was just found.
        unsafe {
            apply_with_avx2(bytes, wide)
        }
    } else {
        apply_words(bytes, wide);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn apply_long(bytes: &mut [u8], wide: u64) {
    apply_words(bytes, wide);
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
        for length in (0..300).chain([1000, 4096, 5001]) {
            for offset in 0..9 {
                let original: Vec<u8> = (0..length).map(|i| (i * 37) as u8).collect();
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
