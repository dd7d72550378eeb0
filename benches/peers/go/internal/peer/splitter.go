package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
)

const (
	// PrefixLength is that of a length prefix, in bytes.
	PrefixLength = 4
	// spareCapacity is how much room a splitter keeps for the next message that is cut, in bytes.
	spareCapacity = 64 << 10
)

// ErrTooLarge says that a message exceeds MaxMessage.
var ErrTooLarge = errors.New("message too large")

// MessageLength is that of a length-prefixed message, its prefix included.
func MessageLength(prefix []byte) (int, error) {
	payload := binary.BigEndian.Uint32(prefix)
	if payload > MaxMessage {
		return 0, ErrTooLarge
	}
	return PrefixLength + int(payload), nil
}

// Splitter splits a connection's bytes into messages, where the library has no means of its own.
type Splitter struct {
	framing Framing
	// begun has the bytes of a message that has not come whole.
	begun []byte
}

// NewSplitter makes a splitter for LengthPrefixed or Lines.
func NewSplitter(framing Framing) *Splitter {
	return &Splitter{framing: framing}
}

// Echo appends to out the messages that chunk completes, with their framing, and keeps a copy of the rest of chunk.
// At an error, out has the messages before it.
func (s *Splitter) Echo(out, chunk []byte) ([]byte, error) {
	for len(chunk) > 0 {
		end, err := s.end(chunk)
		if err != nil {
			return out, err
		}
		if end == 0 {
			if s.begun = append(s.begun, chunk...); len(s.begun) > PrefixLength+MaxMessage {
				return out, ErrTooLarge
			}
			return out, nil
		}
		out = append(append(out, s.begun...), chunk[:end]...)
		chunk = chunk[end:]
		if s.begun = s.begun[:0]; cap(s.begun) > spareCapacity {
			s.begun = nil
		}
	}
	return out, nil
}

// end is how many bytes of chunk the message takes that is begun or begins with it; 0 if chunk does not complete it.
func (s *Splitter) end(chunk []byte) (int, error) {
	if s.framing == Lines {
		return bytes.IndexByte(chunk, '\n') + 1, nil
	}
	if len(s.begun)+len(chunk) < PrefixLength {
		return 0, nil
	}
	var prefix [PrefixLength]byte
	copy(prefix[copy(prefix[:], s.begun):], chunk)
	length, err := MessageLength(prefix[:])
	if end := length - len(s.begun); err == nil && end <= len(chunk) {
		return end, nil
	}
	return 0, err
}
