//! Tests that frames come out the same, whatever the cut in their bytes, their place in the
//! storage, and the methods that write and read them.

use ringwheel_ringbuffer::RingBuffer;

/// The length of the stream plus one byte, so that each byte of it meets the seam at some start.
const CAPACITY: usize = STREAM.len() + 1;

/// Three frames: a tag of one byte, a sequence number of four, a length of two, and the payload.
const STREAM: &[u8] = b"\x01\x00\x00\x00\x07\x00\x05hello\
    \x02\x00\x00\x00\x08\x00\x00\
    \x03\x00\x00\x00\x09\x00\x0cringed round";
const HEADER: usize = 7;

type Frame = (u8, u32, Vec<u8>);
type Write = fn(&mut RingBuffer, &[u8]);
type Take = fn(&mut RingBuffer) -> Option<Frame>;

fn expected() -> Vec<Frame> {
    vec![
        (1, 7, b"hello".to_vec()),
        (2, 8, b"".to_vec()),
        (3, 9, b"ringed round".to_vec()),
    ]
}

/// The ways to write bytes into the ring.
const WRITERS: [(&str, Write); 4] = [
    ("extend_from_slice", |ring, bytes| {
        ring.extend_from_slice(bytes).unwrap();
    }),
    ("byte by byte", |ring, bytes| {
        for &byte in bytes {
            ring.put_u8(byte).unwrap();
        }
    }),
    ("spare and commit", |ring, bytes| {
        let (first, second) = ring.spare();
        let (head, tail) = bytes.split_at(bytes.len().min(first.len()));
        first[..head.len()].copy_from_slice(head);
        second[..tail.len()].copy_from_slice(tail);
        ring.commit(bytes.len());
    }),
    ("read_from", |ring, mut bytes| {
        while !bytes.is_empty() {
            ring.read_from(&mut bytes, CAPACITY - ring.len()).unwrap();
        }
    }),
];

/// The ways to take one frame out; each takes a whole frame or nothing.
const READERS: [(&str, Take); 4] = [
    ("peek and contiguous_prefix", |ring| {
        let tag = ring.peek_u8(0)?;
        let sequence = ring.peek_u32_be(1)?;
        let frame_len = HEADER + usize::from(ring.peek_u16_be(5)?);
        let payload = ring.contiguous_prefix(frame_len)?[HEADER..].to_vec();
        ring.consume(frame_len);
        Some((tag, sequence, payload))
    }),
    ("cursor", |ring| {
        let mut cursor = ring.cursor();
        let tag = cursor.read_u8()?;
        let sequence = cursor.read_u32_be()?;
        let length = cursor.read_u16_be()?;
        let payload = cursor.read_slice(length.into())?.to_vec();
        cursor.commit();
        Some((tag, sequence, payload))
    }),
    ("peek, then read", |ring| {
        let length = usize::from(ring.peek_u16_be(5)?);
        if ring.len() < HEADER + length {
            return None;
        }
        let (tag, sequence) = (ring.read_u8()?, ring.read_u32_be()?);
        ring.read_u16_be()?;
        let payload = (0..length).map(|_| ring.read_u8()).collect::<Option<_>>()?;
        Some((tag, sequence, payload))
    }),
    ("as_slices", |ring| {
        let (first, second) = ring.as_slices();
        let bytes = [first, second].concat();
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let [tag, s0, s1, s2, s3, l0, l1] = *header;
        let payload = rest.get(..u16::from_be_bytes([l0, l1]).into())?;
        ring.consume(HEADER + payload.len());
        Some((tag, u32::from_be_bytes([s0, s1, s2, s3]), payload.to_vec()))
    }),
];

/// A ring whose first readable byte, a zero, lies at `start` in the storage.
fn ring_from(start: usize) -> RingBuffer {
    let mut ring = RingBuffer::with_capacity(CAPACITY);
    ring.set_limit(CAPACITY);
    ring.extend_from_slice(&vec![0; start + 1]).unwrap();
    ring.consume(start);
    ring
}

#[test]
fn two_pieces_at_every_cut_and_every_seam() {
    for (writer, write) in WRITERS {
        for (reader, take) in READERS {
            for start in 0..CAPACITY {
                for cut in 0..=STREAM.len() {
                    let mut ring = ring_from(start);
                    let mut frames = Vec::new();
                    write(&mut ring, &STREAM[..cut]);
                    assert_eq!(ring.read_u8(), Some(0));
                    frames.extend(std::iter::from_fn(|| take(&mut ring)));
                    write(&mut ring, &STREAM[cut..]);
                    frames.extend(std::iter::from_fn(|| take(&mut ring)));
                    assert_eq!(
                        (frames, ring.len(), ring.capacity()),
                        (expected(), 0, CAPACITY),
                        "{writer}, {reader}, start {start}, cut {cut}"
                    );
                }
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_from_every_start() {
    for (writer, write) in WRITERS {
        for (reader, take) in READERS {
            for start in 0..CAPACITY {
                let mut ring = ring_from(start);
                assert_eq!(ring.peek_u8(0), Some(0));
                let mut frames = Vec::new();
                for (i, byte) in STREAM.iter().enumerate() {
                    write(&mut ring, std::slice::from_ref(byte));
                    if i == 0 {
                        ring.consume(1);
                    }
                    frames.extend(take(&mut ring));
                }
                assert_eq!(frames, expected(), "{writer}, {reader}, start {start}");
                assert_eq!(ring.capacity(), CAPACITY);
            }
        }
    }
}
