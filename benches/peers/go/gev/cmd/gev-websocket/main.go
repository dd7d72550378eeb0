// Command gev-websocket echoes over WebSocket with the plugin of github.com/Allenxuxu/gev: event loops that call back.
//
// Peculiar to the plugin: it does not put fragments together, so each is answered by one; it has no limit for messages;
// it shuts a connection down before it has answered a close frame; what is no handshake stays open; and a header of
// a frame of 64 KiB or more that arrives in two reads can be misread.
package main

import (
	"bytes"
	"sync"

	"github.com/Allenxuxu/gev"
	"github.com/Allenxuxu/gev/plugins/websocket"
	"github.com/Allenxuxu/gev/plugins/websocket/ws"

	"ringwheel/benches/peers/gev/internal/loops"
	"ringwheel/benches/peers/internal/peer"
)

func main() {
	flags := peer.NewFlags()
	broadcast := flags.Broadcast()
	flags.Parse()
	upgrader := &ws.Upgrader{}
	var handler gev.Handler = &echo{websocket.NewHandlerWrap(upgrader, ignore{})}
	if *broadcast {
		handler = newHub(upgrader)
	}
	server, addr := loops.Listen(flags, handler, websocket.New(upgrader))
	peer.Announce(addr)
	server.Start()
}

// ignore is what the plugin's own handler calls for messages, which do not get so far: it would not say whether one
// is text or binary, and could not answer an empty one.
type ignore struct{}

func (ignore) OnConnect(*gev.Connection) {}

func (ignore) OnMessage(*gev.Connection, []byte) (ws.MessageType, []byte) {
	return ws.MessageBinary, nil
}

func (ignore) OnClose(*gev.Connection) {}

// echo answers messages; the plugin's own handler does the handshake and answers control frames.
type echo struct{ *websocket.HandlerWrap }

func (e *echo) OnMessage(conn *gev.Connection, context any, payload []byte) any {
	if reply := reply(context, payload); reply != nil {
		return reply
	}
	return e.HandlerWrap.OnMessage(conn, context, payload)
}

// reply is the frame that answers one with data; nil if the plugin is to answer.
func reply(context any, payload []byte) []byte {
	header, isFrame := context.(*ws.Header)
	if !isFrame || header.OpCode.IsControl() {
		return nil
	}
	frame, err := ws.FrameToBytes(ws.NewFrame(header.OpCode, header.Fin, payload))
	if err != nil {
		return nil
	}
	return frame
}

// switching begins the answer to a handshake, which the plugin hands over like a message.
var switching = []byte("HTTP/1.1 101 ")

// hub sends every message to all clients.
type hub struct {
	*websocket.HandlerWrap
	mu      sync.RWMutex
	clients map[*gev.Connection]struct{}
}

func newHub(upgrader *ws.Upgrader) *hub {
	return &hub{
		HandlerWrap: websocket.NewHandlerWrap(upgrader, ignore{}),
		clients:     make(map[*gev.Connection]struct{}),
	}
}

func (h *hub) OnMessage(conn *gev.Connection, context any, payload []byte) any {
	if frame := reply(context, payload); frame != nil {
		h.broadcast(frame)
		return nil
	}
	if context == nil && bytes.HasPrefix(payload, switching) {
		// It is sent before this loop gets to what others send.
		h.join(conn)
	}
	return h.HandlerWrap.OnMessage(conn, context, payload)
}

func (h *hub) join(conn *gev.Connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients[conn] = struct{}{}
}

func (h *hub) broadcast(frame []byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for conn := range h.clients {
		_ = conn.Send(frame)
	}
}

func (h *hub) OnClose(conn *gev.Connection) {
	h.mu.Lock()
	delete(h.clients, conn)
	h.mu.Unlock()
	h.HandlerWrap.OnClose(conn)
}
