package main

import (
	"bytes"

	"github.com/Allenxuxu/gev"
	"github.com/Allenxuxu/ringbuffer"

	"ringwheel/benches/peers/internal/peer"
)

// lengthPrefixed takes whole messages, with their prefix, from a connection's buffer.
type lengthPrefixed struct{ gev.DefaultProtocol }

// UnPacket takes a message, or nothing if none has come whole.
func (*lengthPrefixed) UnPacket(conn *gev.Connection, buffer *ringbuffer.RingBuffer) (any, []byte) {
	if buffer.Length() < peer.PrefixLength {
		return nil, nil
	}
	var prefix [peer.PrefixLength]byte
	first, rest := buffer.Peek(peer.PrefixLength)
	copy(prefix[copy(prefix[:], first):], rest)
	length, err := peer.MessageLength(prefix[:])
	if err != nil {
		_ = conn.Close()
		return nil, nil
	}
	if buffer.Length() < length {
		return nil, nil
	}
	return nil, take(conn, buffer, length)
}

// progress is how much of a connection's buffer has no line feed, in bytes, so that a long line is searched once.
type progress struct{ searched int }

// lines takes whole lines, with their line feed, from a connection's buffer.
type lines struct{ gev.DefaultProtocol }

// UnPacket takes a line, or nothing if none has come whole.
func (*lines) UnPacket(conn *gev.Connection, buffer *ringbuffer.RingBuffer) (any, []byte) {
	progress := conn.Context().(*progress)
	end := lineEnd(buffer, progress.searched)
	if end > 0 {
		progress.searched = 0
		return nil, take(conn, buffer, end)
	}
	if progress.searched = buffer.Length(); progress.searched > peer.MaxMessage {
		_ = conn.Close()
	}
	return nil, nil
}

// lineEnd is the length of the buffer's first line, searched from an offset; 0 if it has no end.
func lineEnd(buffer *ringbuffer.RingBuffer, from int) int {
	first, rest := buffer.PeekAll()
	if from < len(first) {
		if place := bytes.IndexByte(first[from:], '\n'); place >= 0 {
			return from + place + 1
		}
		from = len(first)
	}
	if place := bytes.IndexByte(rest[from-len(first):], '\n'); place >= 0 {
		return from + place + 1
	}
	return 0
}

// take removes bytes from the buffer. They are valid until the next are taken: the library copies the reply before.
func take(conn *gev.Connection, buffer *ringbuffer.RingBuffer, length int) []byte {
	message, rest := buffer.Peek(length)
	if len(rest) > 0 {
		// As the library's own protocol does it, in a buffer that belongs to the loop.
		whole := conn.UserBuffer()
		*whole = append(append((*whole)[:0], message...), rest...)
		message = *whole
	}
	buffer.Retrieve(length)
	return message
}
