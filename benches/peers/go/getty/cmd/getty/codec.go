package main

import (
	"bytes"
	"fmt"

	getty "github.com/apache/dubbo-getty"

	"ringwheel/benches/peers/internal/peer"
)

// The codecs hand over messages that lie in the session's buffer, with their framing. The library is done with one
// before it reads on, so nothing is copied.

// newCodec makes the codec of one session.
func newCodec(framing peer.Framing) getty.ReadWriter {
	switch framing {
	case peer.LengthPrefixed:
		return lengthPrefixed{}
	case peer.Lines:
		return &lines{}
	}
	return raw{}
}

// asItIs writes a message as it was read.
type asItIs struct{}

// Write is getty.Writer's.
func (asItIs) Write(_ getty.Session, message any) ([]byte, error) {
	if message, ok := message.([]byte); ok {
		return message, nil
	}
	return nil, fmt.Errorf("a message is bytes, not %T", message)
}

// raw takes what there is for a message.
type raw struct{ asItIs }

// Read is getty.Reader's.
func (raw) Read(_ getty.Session, data []byte) (any, int, error) {
	return data, len(data), nil
}

// lengthPrefixed takes whole messages, with their prefix.
type lengthPrefixed struct{ asItIs }

// Read is getty.Reader's.
func (lengthPrefixed) Read(_ getty.Session, data []byte) (any, int, error) {
	if len(data) < peer.PrefixLength {
		return nil, 0, nil
	}
	length, err := peer.MessageLength(data)
	if err != nil {
		return nil, 0, err
	}
	if len(data) < length {
		return nil, length, nil
	}
	return data[:length], length, nil
}

// lines takes whole lines, with their line feed.
type lines struct {
	asItIs
	// searched is how much of the line that is begun has no line feed, in bytes, so that a long line is searched once.
	searched int
}

// Read is getty.Reader's.
func (l *lines) Read(_ getty.Session, data []byte) (any, int, error) {
	place := bytes.IndexByte(data[l.searched:], '\n')
	if place >= 0 {
		length := l.searched + place + 1
		l.searched = 0
		return data[:length], length, nil
	}
	if l.searched = len(data); l.searched > peer.MaxMessage {
		return nil, 0, peer.ErrTooLarge
	}
	return nil, 0, nil
}
