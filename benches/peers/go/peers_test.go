package peers_test

import (
	"testing"

	"ringwheel/benches/peers/internal/peertest"
)

func TestMain(m *testing.M) {
	peertest.Main(m)
}

func TestNet(t *testing.T) {
	peertest.TCP(t, "net", nil)
}

func TestTLS(t *testing.T) {
	peertest.TLS(t, "tls", nil)
}

func TestGws(t *testing.T) {
	peertest.WebSocket(t, "gws", nil)
}

func TestGorilla(t *testing.T) {
	peertest.WebSocket(t, "gorilla", nil)
}
