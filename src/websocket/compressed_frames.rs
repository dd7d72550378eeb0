//! The compressed frames of a message that connections share: it is compressed once for each size of their windows.

use std::sync::OnceLock;

use bytes::Bytes;

use super::deflate::WINDOW_BITS;

/// Number of window sizes besides the largest.
const SMALLER_WINDOWS: usize = (*WINDOW_BITS.end() - *WINDOW_BITS.start()) as usize;

/// A frame that refers to no other message, made when it is first needed; `None` if compression does not make it shorter.
pub(crate) type CompressedFrame = OnceLock<Option<Bytes>>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct CompressedFrames {
    /// For the largest window, which most clients have.
    largest: CompressedFrame,
    /// For the others, from the smallest on.
    smaller: OnceLock<Box<[CompressedFrame; SMALLER_WINDOWS]>>,
}

impl CompressedFrames {
    /// The frame for a window with this base-2 logarithm of its size, one of [`WINDOW_BITS`].
    pub(crate) fn of_window(&self, bits: u8) -> &CompressedFrame {
        if bits == *WINDOW_BITS.end() {
            return &self.largest;
        }
        &self.smaller.get_or_init(Box::default)[usize::from(bits - *WINDOW_BITS.start())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_has_a_frame_of_its_own() {
        let frames = CompressedFrames::default();
        for bits in WINDOW_BITS {
            let made = frames.of_window(bits).set(Some(vec![bits].into()));
            assert!(made.is_ok(), "{bits}");
        }
        for bits in WINDOW_BITS {
            let frame = frames.of_window(bits).get().cloned().flatten();
            assert_eq!(frame.unwrap()[..], [bits]);
        }
    }
}
