//! A source and a sink that handle only part of the bytes they are offered, as sockets do.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};

/// Gives at most this many bytes per read, counting up, over all the slices offered.
pub(crate) struct PartialSource(pub(crate) usize);

impl Read for PartialSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(out)])
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let bytes = out.iter_mut().flat_map(|slice| slice.iter_mut());
        let given = bytes.take(self.0).zip(counted());
        Ok(given.map(|(byte, value)| *byte = value).count())
    }
}

/// The bytes that a [`PartialSource`] gives, in order.
pub(crate) fn counted() -> impl Iterator<Item = u8> {
    (0..251).cycle()
}

/// Takes at most a set number of bytes per write, over all the slices offered.
pub(crate) struct PartialSink {
    pub(crate) takes: usize,
    pub(crate) taken: Vec<u8>,
}

impl Write for PartialSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().flat_map(|slice| slice.iter());
        self.taken.extend(bytes.take(self.takes));
        Ok(self.taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
