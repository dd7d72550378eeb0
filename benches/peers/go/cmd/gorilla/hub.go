package main

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// maxQueued bounds the messages that a client has not taken yet. Past it the senders wait.
	maxQueued = 1024
	// writeWait is how long a client may take for one message before it is dropped.
	writeWait = 10 * time.Second
)

// hub sends every message to all clients.
type hub struct {
	mu      sync.Mutex
	clients map[*client]struct{}
}

// client is a connection with the messages that its writer has yet to send.
type client struct {
	conn  *websocket.Conn
	queue chan *websocket.PreparedMessage
	// dropped is closed when the writer has ended.
	dropped chan struct{}
}

func newHub() *hub {
	return &hub{clients: make(map[*client]struct{})}
}

// serve reads from a connection; at its end, the writer sends what is queued and closes it.
func (h *hub) serve(conn *websocket.Conn) {
	c := &client{
		conn:    conn,
		queue:   make(chan *websocket.PreparedMessage, maxQueued),
		dropped: make(chan struct{}),
	}
	go c.write()
	h.mu.Lock()
	h.clients[c] = struct{}{}
	h.mu.Unlock()

	readMessages(conn, h.broadcast)

	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
	close(c.queue)
}

// broadcast encodes a message once, with a copy of its payload, and queues it to all.
func (h *hub) broadcast(opcode int, payload []byte) error {
	prepared, err := websocket.NewPreparedMessage(opcode, payload)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		select {
		case c.queue <- prepared:
		case <-c.dropped:
		}
	}
	return nil
}

func (c *client) write() {
	defer close(c.dropped)
	defer c.conn.Close()
	for prepared := range c.queue {
		_ = c.conn.SetWriteDeadline(time.Now().Add(writeWait))
		if c.conn.WritePreparedMessage(prepared) != nil {
			return
		}
	}
}
