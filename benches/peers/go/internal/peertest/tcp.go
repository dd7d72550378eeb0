package peertest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// tcp is what holds for a peer that speaks TCP.
var tcp = []check{
	{"a message survives being cut anywhere", aMessageSurvivesBeingCutAnywhere},
	{"pipelined messages in odd cuts come back in order", pipelinedMessagesInOddCutsComeBackInOrder},
	{"a reply does not wait for the next message", aReplyDoesNotWaitForTheNextMessage},
	{"large messages pass", largeMessagesPass},
	{"a message too large ends its connection alone", aMessageTooLargeEndsItsConnectionAlone},
	{"after the client's end the rest comes and the connection closes", afterTheClientsEndTheRestComesAndTheConnectionCloses},
	{"a reset ends its connection alone", aResetEndsItsConnectionAlone},
	{"echoes beside workers", echoesBesideWorkers},
	{"echoes beside timers", echoesBesideTimers},
}

// framings encode a payload as each framing has it on the wire.
var framings = map[string]func(payload []byte) []byte{
	"raw": func(payload []byte) []byte { return payload },
	"length-prefixed": func(payload []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	},
	"lines": func(payload []byte) []byte { return append(bytes.Clone(payload), '\n') },
}

// onEachFraming runs a test against a peer in each framing.
func onEachFraming(t *testing.T, peer string, test func(t *testing.T, server server, encode func([]byte) []byte)) {
	for framing, encode := range framings {
		t.Run(framing, func(t *testing.T) {
			test(t, start(t, peer, "--framing", framing), encode)
		})
	}
}

// expectBytes reads as many bytes as are wanted and compares them.
func expectBytes(t *testing.T, from io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil {
		t.Fatalf("%d of %d bytes came back: %v", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back changed", len(want))
	}
}

func expectEnd(t *testing.T, from io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(from); err != nil || len(rest) != 0 {
		t.Fatalf("%d bytes instead of the end: %v", len(rest), err)
	}
}

// writeBeside writes while the test reads, as a large message needs on both sides.
func writeBeside(t *testing.T, conn net.Conn, bytes []byte) {
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(bytes)
		written <- err
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

func aMessageSurvivesBeingCutAnywhere(t *testing.T, peer string) {
	onEachFraming(t, peer, func(t *testing.T, server server, encode func([]byte) []byte) {
		conn := server.connect(t)
		image := encode(payload(seeded(), 29))
		for cut := range image {
			write(t, conn, image[:cut])
			write(t, conn, image[cut:])
			expectBytes(t, conn, image)
		}
	})
}

func pipelinedMessagesInOddCutsComeBackInOrder(t *testing.T, peer string) {
	onEachFraming(t, peer, func(t *testing.T, server server, encode func([]byte) []byte) {
		random := seeded()
		var image []byte
		for range 2000 {
			image = append(image, encode(payload(random, random.IntN(300)))...)
		}
		conn := server.connect(t)
		go func() {
			for rest := image; len(rest) > 0; {
				cut := min(1+random.IntN(5000), len(rest))
				if _, err := conn.Write(rest[:cut]); err != nil {
					return // The reader finds the rest missing.
				}
				rest = rest[cut:]
			}
		}()
		expectBytes(t, conn, image)
	})
}

func aReplyDoesNotWaitForTheNextMessage(t *testing.T, peer string) {
	onEachFraming(t, peer, func(t *testing.T, server server, encode func([]byte) []byte) {
		conn := server.connect(t)
		first, second := encode([]byte("first")), encode([]byte("second"))
		write(t, conn, append(bytes.Clone(first), second[:3]...))
		expectBytes(t, conn, first)
		write(t, conn, second[3:])
		expectBytes(t, conn, second)
	})
}

func largeMessagesPass(t *testing.T, peer string) {
	for _, length := range []int{16<<10 - 5, 16<<10 - 4, 16<<10 - 1, 16 << 10, 1 << 20, 16 << 20} {
		onEachFraming(t, peer, func(t *testing.T, server server, encode func([]byte) []byte) {
			conn := server.connect(t)
			image := encode(payload(seeded(), length))
			writeBeside(t, conn, image)
			expectBytes(t, conn, image)
		})
	}
}

func aMessageTooLargeEndsItsConnectionAlone(t *testing.T, peer string) {
	server := start(t, peer, "--framing", "length-prefixed")
	good, bad := server.connect(t), server.connect(t)
	whole := framings["length-prefixed"]([]byte("before"))
	write(t, bad, append(bytes.Clone(whole), binary.BigEndian.AppendUint32(nil, 16<<20+1)...))
	expectBytes(t, bad, whole)
	if n, err := bad.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatal("the connection goes on")
	}
	write(t, good, whole)
	expectBytes(t, good, whole)
}

func afterTheClientsEndTheRestComesAndTheConnectionCloses(t *testing.T, peer string) {
	onEachFraming(t, peer, func(t *testing.T, server server, encode func([]byte) []byte) {
		conn := server.connect(t)
		random := seeded()
		var image []byte
		for range 4 {
			image = append(image, encode(payload(random, 1<<20))...)
		}
		go func() {
			_, _ = conn.Write(image) // The reader finds the rest missing.
			_ = conn.CloseWrite()
		}()
		expectBytes(t, conn, image)
		expectEnd(t, conn)
	})
}

func aResetEndsItsConnectionAlone(t *testing.T, peer string) {
	onEachFraming(t, peer, func(t *testing.T, server server, encode func([]byte) []byte) {
		image := encode([]byte("still here"))
		good := server.connect(t)
		for range 20 {
			bad := server.connect(t)
			if err := bad.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			write(t, bad, image[:4])
			_ = bad.Close()
		}
		write(t, good, image)
		expectBytes(t, good, image)
	})
}

func echoesBesideWorkers(t *testing.T, peer string) {
	echoes(t, start(t, peer, "--workers", "5"))
}

func echoesBesideTimers(t *testing.T, peer string) {
	echoes(t, start(t, peer, "--timers", "10000"))
}

func echoes(t *testing.T, server server) {
	conn := server.connect(t)
	write(t, conn, []byte("tick"))
	expectBytes(t, conn, []byte("tick"))
}
