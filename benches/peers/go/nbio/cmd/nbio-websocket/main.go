// Command nbio-websocket echoes over WebSocket with github.com/lesismal/nbio: event loops that call back.
//
// Peculiar to the library: when the client has sent its FIN, it closes the connection at once and drops the output that
// is pending and the input that three reads have not taken. It drops empty messages. What a client has not taken yet is kept without bound.
package main

import (
	"net"
	"net/http"
	"sync"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"ringwheel/benches/peers/internal/peer"
)

func main() {
	flags := peer.NewFlags()
	broadcast := flags.Broadcast()
	framing := flags.Deflate()
	flags.Parse()
	listener := flags.Listen()
	logging.SetLevel(logging.LevelNone)
	upgrader := websocket.NewUpgrader()
	upgrader.MessageLengthLimit = peer.MaxMessage
	upgrader.KeepaliveTime = 0 // no deadline, which would be set anew for each message
	if *framing == peer.WebSocketDeflate {
		upgrader.EnableCompression(true)
		_ = upgrader.SetCompressionLevel(peer.DeflateLevel) // which is a valid one
	}
	if *broadcast {
		newHub().attach(upgrader)
	} else {
		upgrader.OnMessage(func(conn *websocket.Conn, kind websocket.MessageType, message []byte) {
			_ = conn.WriteMessage(kind, message)
		})
	}
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp",
		Addrs:   []string{listener.Addr().String()},
		Listen:  func(string, string) (net.Listener, error) { return listener, nil },
		NPoller: flags.Workers(),
		// The library would send larger messages in fragments.
		MaxWebsocketFramePayloadSize: peer.MaxMessage,
		ReleaseWebsocketPayload:      true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = upgrader.Upgrade(w, r, nil) // which answers a request that it refuses
		}),
	})
	if err := engine.Start(); err != nil {
		peer.Fail(err)
	}
	select {}
}

// hub sends every message to all clients.
type hub struct {
	mu      sync.RWMutex
	clients map[*websocket.Conn]struct{}
}

func newHub() *hub {
	return &hub{clients: make(map[*websocket.Conn]struct{})}
}

func (h *hub) attach(upgrader *websocket.Upgrader) {
	upgrader.OnOpen(func(conn *websocket.Conn) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.clients[conn] = struct{}{}
	})
	upgrader.OnClose(func(conn *websocket.Conn, _ error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.clients, conn)
	})
	upgrader.OnMessage(func(_ *websocket.Conn, kind websocket.MessageType, message []byte) {
		h.mu.RLock()
		defer h.mu.RUnlock()
		for conn := range h.clients {
			_ = conn.WriteMessage(kind, message)
		}
	})
}
