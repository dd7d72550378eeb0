package peers_test

import (
	"testing"

	"ringwheel/benches/peers/internal/peertest"
)

func TestMain(m *testing.M) {
	peertest.Main(m)
}

func TestNbio(t *testing.T) {
	peertest.TCP(t, "nbio", peertest.Faults{
		"after the client's end the rest comes and the connection closes": "nbio closes at the FIN at once, with output pending or input unread",
	})
}

func TestNbioWebSocket(t *testing.T) {
	peertest.WebSocket(t, "nbio-websocket", peertest.Faults{
		"a WebSocket ends without the closing handshake": "nbio closes at the FIN at once, with output pending or input unread",
		"an empty message comes back":                    "nbio does not hand empty messages over",
	})
}
