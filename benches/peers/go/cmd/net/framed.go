package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"ringwheel/benches/peers/internal/peer"
)

const (
	// framedBuffer is what a connection reads at once with framing, in bytes; as much is gathered of replies.
	framedBuffer = 16 << 10
	// prefixLength is that of a length prefix, in bytes.
	prefixLength = 4
)

var errTooLarge = errors.New("message too large")

// echoMessages answers each message when it has come whole.
func echoMessages(conn net.Conn, next func(*messageReader) ([]byte, error)) {
	out := bufio.NewWriterSize(conn, framedBuffer)
	in := messageReader{in: bufio.NewReaderSize(flushingReader{conn, out}, framedBuffer)}
	for {
		message, err := next(&in)
		if err != nil {
			_ = out.Flush()
			return
		}
		if _, err := out.Write(message); err != nil {
			return
		}
	}
}

// flushingReader sends the replies that were gathered before it waits for more, so that the replies to one read
// coalesce and none is held back.
type flushingReader struct {
	conn net.Conn
	out  *bufio.Writer
}

func (r flushingReader) Read(p []byte) (int, error) {
	if err := r.out.Flush(); err != nil {
		return 0, err
	}
	return r.conn.Read(p)
}

// messageReader splits a stream into messages, which come with their framing and are valid until the next is asked for.
type messageReader struct {
	in *bufio.Reader
	// long holds a message that the reader's own buffer cannot.
	long []byte
}

func (r *messageReader) lengthPrefixed() ([]byte, error) {
	prefix, err := r.in.Peek(prefixLength)
	if err != nil {
		return nil, err
	}
	payload := binary.BigEndian.Uint32(prefix)
	if payload > peer.MaxMessage {
		return nil, errTooLarge
	}
	length := prefixLength + int(payload)
	if length > r.in.Size() {
		if cap(r.long) < length {
			r.long = make([]byte, length)
		}
		_, err := io.ReadFull(r.in, r.long[:length])
		return r.long[:length], err
	}
	message, err := r.in.Peek(length)
	if err != nil {
		return nil, err
	}
	// Discarding what is buffered leaves the bytes where they are.
	_, err = r.in.Discard(length)
	return message, err
}

func (r *messageReader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	r.long = append(r.long[:0], line...)
	for err == bufio.ErrBufferFull {
		line, err = r.in.ReadSlice('\n')
		r.long = append(r.long, line...)
		if len(r.long) > peer.MaxMessage+len("\n") {
			return nil, errTooLarge
		}
	}
	return r.long, err
}
