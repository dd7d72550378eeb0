//! Reads the fuzzer's bytes as the values that a target needs.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};

/// The settings come first, then the stream. Seeds can thus be written by hand, and the fuzzer's changes keep their
/// meaning.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Input(data)
    }

    /// The next byte, or 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Lengths of pieces: a count up to 7, and that many bytes. A count of 0 stands for single bytes.
    pub(crate) fn lengths(&mut self) -> Vec<usize> {
        let count = usize::from(self.byte() % 8);
        let lengths = self.bytes(count).iter();
        lengths.map(|&length| usize::from(length).max(1)).collect()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts `stream` into pieces of the given lengths, which repeat; into single bytes if there are none.
pub(crate) fn cut<'a>(stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let lengths = if lengths.is_empty() { &[1] } else { lengths };
    let mut rest = stream;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        (length > 0).then_some(piece)
    })
}

/// A plan of operations; `None` if the bytes make none. With `FUZZ_PRINT` set it is printed, to explain a finding.
pub(crate) fn plan<'a, T: Arbitrary<'a> + Debug>(data: &'a [u8]) -> Option<T> {
    let plan = T::arbitrary_take_rest(Unstructured::new(data)).ok()?;
    if std::env::var_os("FUZZ_PRINT").is_some() {
        eprintln!("{plan:#?}");
    }
    Some(plan)
}
