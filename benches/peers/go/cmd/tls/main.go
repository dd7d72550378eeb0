// Command tls echoes bytes over TLS with the standard library: a goroutine per connection.
package main

import (
	"crypto/tls"
	"net"

	"ringwheel/benches/peers/internal/peer"
)

// buffer is what a connection reads at once, in bytes.
const buffer = 32 << 10

func main() {
	flags := peer.NewFlags()
	certificate := flags.Certificate()
	flags.Parse()
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	listener := flags.Listen()
	for {
		conn, err := listener.Accept()
		if err != nil {
			peer.Fail(err)
		}
		go echo(tls.Server(conn, config))
	}
}

// echo answers a connection until its end or failure, which concern no other. The first read does the handshake.
func echo(conn net.Conn) {
	defer conn.Close()
	bytes := make([]byte, buffer)
	for {
		n, err := conn.Read(bytes)
		if n > 0 {
			if _, err := conn.Write(bytes[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
