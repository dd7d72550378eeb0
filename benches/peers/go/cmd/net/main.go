// Command net echoes over TCP with the standard library: a goroutine per connection.
package main

import (
	"net"

	"ringwheel/benches/peers/internal/peer"
)

// rawBuffer is what a connection reads at once without framing, in bytes.
const rawBuffer = 32 << 10

func main() {
	flags := peer.NewFlags()
	framing := flags.Framing()
	timers := flags.Timers()
	flags.Parse()
	listener := flags.Listen()
	peer.KeepTimers(peer.TimerDurations(*timers), func(int) {})
	for {
		conn, err := listener.Accept()
		if err != nil {
			peer.Fail(err)
		}
		go serve(conn, *framing)
	}
}

// serve answers a connection until its end or failure, which concern no other.
func serve(conn net.Conn, framing peer.Framing) {
	defer conn.Close()
	switch framing {
	case peer.LengthPrefixed:
		echoMessages(conn, (*messageReader).lengthPrefixed)
	case peer.Lines:
		echoMessages(conn, (*messageReader).line)
	default:
		echoBytes(conn)
	}
}

// echoBytes copies by hand, because io.Copy between TCP connections uses splice(2). That is cheaper for messages of many
// kilobytes, but dearer for small ones, and takes two more descriptors for each connection.
func echoBytes(conn net.Conn) {
	buffer := make([]byte, rawBuffer)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
