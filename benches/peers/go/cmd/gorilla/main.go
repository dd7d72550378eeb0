// Command gorilla echoes over WebSocket with github.com/gorilla/websocket: a goroutine per connection.
package main

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"ringwheel/benches/peers/internal/peer"
)

// upgrader has connections share write buffers, so that an idle one holds none; its compression is off by default. The
// read buffer is that of the HTTP server, which a connection takes over.
var upgrader = websocket.Upgrader{
	WriteBufferPool: &sync.Pool{},
	CheckOrigin:     func(*http.Request) bool { return true },
}

func main() {
	flags := peer.NewFlags()
	broadcast := flags.Broadcast()
	framing := flags.Deflate()
	flags.Parse()
	// It knows compression without context takeover only.
	upgrader.EnableCompression = *framing == peer.WebSocketDeflate
	serve := echo
	if *broadcast {
		serve = newHub().serve
	}
	upgrade := func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // The upgrader has answered.
		}
		conn.SetReadLimit(peer.MaxMessage)
		_ = conn.SetCompressionLevel(peer.DeflateLevel) // which is a valid one
		// In a goroutine of its own, so that the handler's can end and free what belongs to the request.
		go serve(conn)
	}
	if err := http.Serve(flags.Listen(), http.HandlerFunc(upgrade)); err != nil {
		peer.Fail(err)
	}
}

func echo(conn *websocket.Conn) {
	defer conn.Close()
	readMessages(conn, func(opcode int, payload []byte) error {
		return conn.WriteMessage(opcode, payload)
	})
}

// readMessages hands each message over until the connection ends or answering fails. The messages share one buffer,
// where ReadMessage would allocate for each.
func readMessages(conn *websocket.Conn, handle func(opcode int, payload []byte) error) {
	var message bytes.Buffer
	for {
		opcode, reader, err := conn.NextReader()
		if err != nil {
			return
		}
		message.Reset()
		if _, err := message.ReadFrom(reader); err != nil {
			return
		}
		if err := handle(opcode, message.Bytes()); err != nil {
			return
		}
	}
}
