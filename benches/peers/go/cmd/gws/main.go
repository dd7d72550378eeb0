// Command gws echoes over WebSocket with github.com/lxzan/gws: a goroutine per connection, which calls back.
//
// Peculiar to the library: at a client's end it closes the connection at once, and drops what its asynchronous writes,
// which a broadcast uses, have not sent yet. Echoes are written before the next message is read, so none is lost.
package main

import (
	"net"

	"github.com/lxzan/gws"

	"ringwheel/benches/peers/internal/peer"
)

func main() {
	flags := peer.NewFlags()
	broadcast := flags.Broadcast()
	framing := flags.Deflate()
	flags.Parse()
	var handler gws.Event = echo{}
	if *broadcast {
		handler = newHub()
	}
	// Off, as they are by default: handling a connection's messages side by side, which would lose their order, the
	// check of texts for UTF-8, and, unless it is asked for, compression.
	server := gws.NewServer(handler, &gws.ServerOption{
		ReadMaxPayloadSize:  peer.MaxMessage,
		WriteMaxPayloadSize: peer.MaxMessage,
		// By default without context takeover.
		PermessageDeflate: gws.PermessageDeflate{
			Enabled: *framing == peer.WebSocketDeflate,
			Level:   peer.DeflateLevel,
			// Every message; 0 would be the default of 512.
			Threshold: 1,
		},
	})
	// By default a failed handshake is logged, and a connection whose request cannot be read stays open.
	server.OnError = func(conn net.Conn, _ error) {
		if conn != nil {
			_ = conn.Close()
		}
	}
	if err := server.RunListener(flags.Listen()); err != nil {
		peer.Fail(err)
	}
}

type echo struct{ gws.BuiltinEventHandler }

func (echo) OnPing(socket *gws.Conn, payload []byte) {
	_ = socket.WritePong(payload)
}

func (echo) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = socket.WriteMessage(message.Opcode, message.Bytes())
}
