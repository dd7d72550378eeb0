package peertest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Opcodes of RFC 6455, section 5.2.
const (
	continuation = 0x0
	text         = 0x1
	binaryData   = 0x2
	closing      = 0x8
	ping         = 0x9
	pong         = 0xA
)

const (
	fin    = 0x80
	masked = 0x80
	// rsv1 says that a message is deflated (RFC 7692, section 6).
	rsv1 = 0x40
)

// tail is what a deflated message ends with, which is not sent (RFC 7692, section 7.2.1).
const tail = "\x00\x00\xff\xff"

// webSockets is what holds for a peer that speaks WebSocket.
var webSockets = []check{
	{"WebSocket messages come back as they were", webSocketMessagesComeBackAsTheyWere},
	{"WebSocket frames survive being cut anywhere", webSocketFramesSurviveBeingCutAnywhere},
	{"pipelined WebSocket messages come back in order", pipelinedWebSocketMessagesComeBackInOrder},
	{"a fragmented message comes back in one frame after the pong", aFragmentedMessageComesBackInOneFrameAfterThePong},
	{"an empty message comes back", anEmptyMessageComesBack},
	{"a WebSocket ends with the closing handshake", aWebSocketEndsWithTheClosingHandshake},
	{"a WebSocket ends without the closing handshake", aWebSocketEndsWithoutTheClosingHandshake},
	{"a message above the limit ends its WebSocket alone", aMessageAboveTheLimitEndsItsWebSocketAlone},
	{"what is no handshake is refused and closed", whatIsNoHandshakeIsRefusedAndClosed},
	{"deflated messages come back deflated", deflatedMessagesComeBackDeflated},
	{"a broadcast reaches all and loses nothing", aBroadcastReachesAllAndLosesNothing},
	{"a broadcast waits for a slow client", aBroadcastWaitsForASlowClient},
	{"a broadcast outlives a client that is gone", aBroadcastOutlivesAClientThatIsGone},
}

// webSocket is the client's end of a connection.
type webSocket struct {
	net.Conn
	in *bufio.Reader
}

// upgrade opens a connection to a peer that does not compress.
func upgrade(t *testing.T, server server) webSocket {
	t.Helper()
	conn, extensions := upgradeOffering(t, server, "permessage-deflate")
	if extensions != "" {
		t.Fatalf("agreed to %q", extensions)
	}
	return conn
}

// upgradeOffering opens a connection with the key and the answer of RFC 6455, section 1.3, and returns the extensions
// that the peer agrees to, too.
func upgradeOffering(t *testing.T, server server, extensions string) (webSocket, string) {
	t.Helper()
	conn := server.connect(t)
	write(t, conn, fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Extensions: %s\r\n\r\n", server.addr, extensions))
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	accept := response.Header.Get("Sec-WebSocket-Accept")
	if response.StatusCode != http.StatusSwitchingProtocols || accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("answered %v with %q", response.Status, accept)
	}
	return webSocket{conn, in}, response.Header.Get("Sec-WebSocket-Extensions")
}

// frame encodes a client's frame.
func frame(first byte, payload []byte) []byte {
	image := []byte{first}
	switch length := len(payload); {
	case length < 126:
		image = append(image, masked|byte(length))
	case length < 1<<16:
		image = binary.BigEndian.AppendUint16(append(image, masked|126), uint16(length))
	default:
		image = binary.BigEndian.AppendUint64(append(image, masked|127), uint64(length))
	}
	key := [4]byte{0x12, 0x34, 0x56, 0x78}
	image = append(image, key[:]...)
	for i, b := range payload {
		image = append(image, b^key[i%len(key)])
	}
	return image
}

// read takes a frame that must be whole, unmasked and not deflated, with its length in the shortest form.
func (c webSocket) read() (opcode byte, payload []byte, err error) {
	return c.readWith(0)
}

// readWith takes a frame that must have these reserved bits.
func (c webSocket) readWith(reserved byte) (opcode byte, payload []byte, err error) {
	var header [2]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return 0, nil, err
	}
	length, least := uint64(header[1]), uint64(0)
	switch length {
	case 126:
		var extended uint16
		err = binary.Read(c.in, binary.BigEndian, &extended)
		length, least = uint64(extended), 126
	case 127:
		err = binary.Read(c.in, binary.BigEndian, &length)
		least = 1 << 16
	}
	switch {
	case err != nil:
		return 0, nil, err
	case header[0]&0xF0 != fin|reserved || header[1]&masked != 0 || length < least || length > 16<<20:
		return 0, nil, fmt.Errorf("header %x with length %d", header, length)
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.in, payload)
	return header[0] & 0x0F, payload, err
}

func (c webSocket) expect(t *testing.T, opcode byte, payload []byte) {
	t.Helper()
	gotOpcode, got, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	if gotOpcode != opcode || !bytes.Equal(got, payload) {
		t.Fatalf("got opcode %x with %d bytes, not %x with the %d expected", gotOpcode, len(got), opcode, len(payload))
	}
}

func webSocketMessagesComeBackAsTheyWere(t *testing.T, peer string) {
	server := start(t, peer)
	conn := upgrade(t, server)
	for _, length := range []int{1, 5, 125, 126, 4096, 1<<16 - 1, 1 << 16, 1 << 20, 16 << 20} {
		message := payload(seeded(), length)
		writeBeside(t, conn, frame(fin|binaryData, message))
		conn.expect(t, binaryData, message)
	}
	write(t, conn, frame(fin|text, []byte("grüß Gott")))
	conn.expect(t, text, []byte("grüß Gott"))
}

func webSocketFramesSurviveBeingCutAnywhere(t *testing.T, peer string) {
	server := start(t, peer)
	conn := upgrade(t, server)
	message := payload(seeded(), 130)
	image := frame(fin|binaryData, message)
	for cut := range image {
		write(t, conn, image[:cut])
		write(t, conn, image[cut:])
		conn.expect(t, binaryData, message)
	}
}

func pipelinedWebSocketMessagesComeBackInOrder(t *testing.T, peer string) {
	server := start(t, peer)
	conn := upgrade(t, server)
	random := seeded()
	var image []byte
	messages := make([][]byte, 2000)
	for i := range messages {
		messages[i] = payload(random, 1+random.IntN(300))
		image = append(image, frame(fin|binaryData, messages[i])...)
	}
	writeBeside(t, conn, image)
	for _, message := range messages {
		conn.expect(t, binaryData, message)
	}
}

func aFragmentedMessageComesBackInOneFrameAfterThePong(t *testing.T, peer string) {
	server := start(t, peer)
	conn := upgrade(t, server)
	write(t, conn, frame(text, []byte("one ")))
	write(t, conn, frame(continuation, []byte("two ")))
	write(t, conn, frame(fin|ping, []byte("there?")))
	write(t, conn, frame(fin|continuation, []byte("three")))
	conn.expect(t, pong, []byte("there?"))
	conn.expect(t, text, []byte("one two three"))
}

func anEmptyMessageComesBack(t *testing.T, peer string) {
	conn := upgrade(t, start(t, peer))
	write(t, conn, append(frame(fin|binaryData, nil), frame(fin|text, []byte("next"))...))
	conn.expect(t, binaryData, nil)
	conn.expect(t, text, []byte("next"))
}

func aWebSocketEndsWithTheClosingHandshake(t *testing.T, peer string) {
	conn := upgrade(t, start(t, peer))
	message := payload(seeded(), 1000)
	status := binary.BigEndian.AppendUint16(nil, 1000)
	write(t, conn, append(frame(fin|binaryData, message), frame(fin|closing, status)...))
	conn.expect(t, binaryData, message)
	conn.expect(t, closing, status)
	expectEnd(t, conn.in)
}

func aWebSocketEndsWithoutTheClosingHandshake(t *testing.T, peer string) {
	conn := upgrade(t, start(t, peer))
	message := payload(seeded(), 1000)
	write(t, conn, frame(fin|binaryData, message))
	if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn.expect(t, binaryData, message)
	// Whether a close frame answers the bare end is the library's affair.
	if _, err := io.ReadAll(conn.in); err != nil {
		t.Fatal(err)
	}
}

func aMessageAboveTheLimitEndsItsWebSocketAlone(t *testing.T, peer string) {
	server := start(t, peer)
	good, bad := upgrade(t, server), upgrade(t, server)
	write(t, bad, binary.BigEndian.AppendUint64([]byte{fin | binaryData, masked | 127}, 16<<20+1))
	write(t, bad, []byte{1, 2, 3, 4})
	for {
		opcode, _, err := bad.read()
		if err != nil {
			break
		}
		if opcode != closing {
			t.Fatalf("answered with opcode %x", opcode)
		}
	}
	write(t, good, frame(fin|text, []byte("still here")))
	good.expect(t, text, []byte("still here"))
}

func whatIsNoHandshakeIsRefusedAndClosed(t *testing.T, peer string) {
	server := start(t, peer)
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "nonsense\r\n\r\n"} {
		conn := server.connect(t)
		write(t, conn, []byte(request))
		answer, err := io.ReadAll(conn)
		if err != nil || bytes.HasPrefix(answer, []byte("HTTP/1.1 101")) {
			t.Errorf("%q was answered with %q: %v", request, answer, err)
		}
	}
}

func deflatedMessagesComeBackDeflated(t *testing.T, peer string) {
	server := start(t, peer, "--framing", "websocket-deflate")
	conn, extensions := upgradeOffering(t, server,
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover")
	for _, part := range []string{"permessage-deflate", "server_no_context_takeover"} {
		if !strings.Contains(extensions, part) {
			t.Fatalf("agreed to %q", extensions)
		}
	}
	// The second time, an answer that relies on the first would be shorter.
	for _, length := range []int{1024, 1024, 3000} {
		message := []byte(strings.Repeat(`{"key": "value", "number": 12345}, `, length/35+1))[:length]
		write(t, conn, frame(fin|rsv1|text, deflated(t, message)))
		opcode, payload, err := conn.readWith(rsv1)
		if err != nil {
			t.Fatal(err)
		}
		if got := inflated(t, payload); opcode != text || !bytes.Equal(got, message) || len(payload) >= length {
			t.Fatalf("got opcode %x with %d bytes that inflate to %q", opcode, len(payload), got)
		}
	}
	// One that is not deflated is as good.
	write(t, conn, frame(fin|text, []byte("plain")))
	if opcode, payload, err := conn.readWith(rsv1); err != nil || opcode != text ||
		string(inflated(t, payload)) != "plain" {
		t.Fatalf("got opcode %x with %q: %v", opcode, payload, err)
	}
}

func deflated(t *testing.T, message []byte) []byte {
	t.Helper()
	var payload bytes.Buffer
	writer, err := flate.NewWriter(&payload, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	// Writing into a buffer does not fail.
	_, _ = writer.Write(message)
	_ = writer.Flush()
	return bytes.TrimSuffix(payload.Bytes(), []byte(tail))
}

// inflated does without what went before, as it must where no context is taken over.
func inflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	// An empty final block ends the stream.
	stream := io.MultiReader(bytes.NewReader(payload), strings.NewReader(tail+"\x01\x00\x00\xff\xff"))
	message, err := io.ReadAll(flate.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// joined upgrades a connection and waits until it is among those that a broadcast reaches.
func joined(t *testing.T, server server) webSocket {
	t.Helper()
	conn := upgrade(t, server)
	write(t, conn, frame(fin|text, []byte("joined")))
	conn.expect(t, text, []byte("joined"))
	return conn
}

func aBroadcastReachesAllAndLosesNothing(t *testing.T, peer string) {
	server := start(t, peer, "--broadcast")
	sender := joined(t, server)
	other := joined(t, server)
	sender.expect(t, text, []byte("joined"))

	// Fewer messages than are queued to a client: it need not read any before the other has read all.
	random := seeded()
	var image []byte
	messages := make([][]byte, 500)
	for i := range messages {
		messages[i] = payload(random, 1+random.IntN(300))
		image = append(image, frame(fin|binaryData, messages[i])...)
	}
	writeBeside(t, sender, image)
	for _, client := range []webSocket{sender, other} {
		for _, message := range messages {
			client.expect(t, binaryData, message)
		}
	}
}

func aBroadcastWaitsForASlowClient(t *testing.T, peer string) {
	server := start(t, peer, "--broadcast")
	sender := joined(t, server)
	slow := joined(t, server)
	sender.expect(t, text, []byte("joined"))

	// 64 MiB, beyond what the kernel and the queue to a client hold together, to one that reads nothing until the
	// sender has read as much as surely fits.
	const messages, fit, length = 2000, 1000, 32 << 10
	message := payload(seeded(), length)
	go func() {
		image := frame(fin|binaryData, message)
		for range messages {
			if _, err := sender.Write(image); err != nil {
				return // The readers find the rest missing.
			}
		}
	}()
	taken := make(chan error, 1)
	if err := readAll(sender, fit, message); err != nil {
		t.Fatal("sender:", err)
	}
	go func() { taken <- readAll(sender, messages-fit, message) }()
	if err := readAll(slow, messages, message); err != nil {
		t.Fatal("slow:", err)
	}
	if err := <-taken; err != nil {
		t.Fatal("sender:", err)
	}
}

// readAll takes so many messages, which are alike.
func readAll(conn webSocket, messages int, want []byte) error {
	for i := range messages {
		opcode, got, err := conn.read()
		if err != nil {
			return fmt.Errorf("after %d messages: %w", i, err)
		}
		if opcode != binaryData || !bytes.Equal(got, want) {
			return fmt.Errorf("message %d is another", i)
		}
	}
	return nil
}

func aBroadcastOutlivesAClientThatIsGone(t *testing.T, peer string) {
	server := start(t, peer, "--broadcast")
	sender := joined(t, server)
	for range 5 {
		gone := joined(t, server)
		sender.expect(t, text, []byte("joined"))
		if err := gone.Conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = gone.Close()
	}
	message := payload(seeded(), 64<<10)
	for range 100 {
		write(t, sender, frame(fin|binaryData, message))
		sender.expect(t, binaryData, message)
	}
}
