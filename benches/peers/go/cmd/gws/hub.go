package main

import (
	"sync"
	"time"

	"github.com/lxzan/gws"
)

const (
	// batch is how many messages are queued to a client between two looks at how far it is; a look for each would
	// burden the library's queue with as many jobs again.
	batch = 64
	// maxBatches bounds the batches that a client has not taken yet. Past it the senders wait.
	maxBatches = 16
	// patience is how long senders wait for a client before it is dropped.
	patience = 10 * time.Second
)

// hub sends every message to all clients.
//
// The library's queue for each client has no bound of its own; here it is at most batch*maxBatches messages long.
type hub struct {
	gws.BuiltinEventHandler
	mu      sync.Mutex
	clients map[*gws.Conn]*client
}

// client is a connection and how far it lags; the hub's lock guards what is no channel.
type client struct {
	socket *gws.Conn
	// batches holds an entry for each batch that was begun and is not written whole.
	batches chan struct{}
	// queued is the number of messages in the batch under way, below batch.
	queued int
}

func newHub() *hub {
	return &hub{clients: make(map[*gws.Conn]*client)}
}

func (h *hub) OnOpen(socket *gws.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients[socket] = &client{socket: socket, batches: make(chan struct{}, maxBatches)}
}

func (h *hub) OnClose(socket *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, socket)
}

func (h *hub) OnPing(socket *gws.Conn, payload []byte) {
	_ = socket.WritePong(payload)
}

func (h *hub) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	broadcaster := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer broadcaster.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, client := range h.clients {
		client.enqueue(broadcaster)
	}
}

func (c *client) enqueue(broadcaster *gws.Broadcaster) {
	if c.queued == 0 {
		c.beginBatch()
	}
	_ = broadcaster.Broadcast(c.socket)
	if c.queued++; c.queued == batch {
		c.queued = 0
		c.socket.Async(func() { <-c.batches })
	}
}

// beginBatch waits until the client's queue has room. To a connection that is closed, queued messages fail at once, so
// a client that is dropped makes room too.
func (c *client) beginBatch() {
	select {
	case c.batches <- struct{}{}:
		return
	default:
	}
	late := time.AfterFunc(patience, func() { _ = c.socket.NetConn().Close() })
	defer late.Stop()
	c.batches <- struct{}{}
}
