//! The checksum CRC-32C (Castagnoli), with which a PROXY header may be protected.

/// The polynomial 0x1EDC6F41 with its bits in reverse order (RFC 4960, appendix B).
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The effect of each byte on the checksum.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let is_odd = remainder & 1 == 1;
            remainder = (remainder >> 1) ^ if is_odd { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// The checksum of the parts in a row.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    !bytes.fold(!0, |crc, &byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC catalogues, and the vectors of RFC 3720, section B.4.
    #[test]
    fn known_vectors() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        for (bytes, checksum) in [
            (&b"123456789"[..], 0xE306_9283),
            (b"", 0),
            (&[0; 32], 0x8A91_36AA),
            (&[0xFF; 32], 0x62A8_AB43),
            (&up, 0x46DD_794E),
            (&down, 0x113F_DB5C),
        ] {
            assert_eq!(crc32c(&[bytes]), checksum, "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(crc32c(&[&bytes[..cut], &bytes[cut..]]), checksum);
            }
        }
    }
}
