package peers_test

import (
	"testing"

	"ringwheel/benches/peers/internal/peertest"
)

func TestMain(m *testing.M) {
	peertest.Main(m)
}

func TestGev(t *testing.T) {
	peertest.TCP(t, "gev", nil)
}

func TestGevWebSocket(t *testing.T) {
	peertest.WebSocket(t, "gev-websocket", peertest.Faults{
		"a fragmented message comes back in one frame after the pong": "gev does not put fragments together",
		"deflated messages come back deflated":                        "gev has no compression",
		"a WebSocket ends with the closing handshake":                 "gev shuts the connection down before it sends what answers a close frame",
		"a message above the limit ends its WebSocket alone":          "gev has no limit for messages",
		"what is no handshake is refused and closed":                  "gev answers, but leaves the connection open",
	})
}
