package peers_test

import (
	"testing"

	"ringwheel/benches/peers/internal/peertest"
)

func TestMain(m *testing.M) {
	peertest.Main(m)
}

func TestGnet(t *testing.T) {
	peertest.TCP(t, "gnet", peertest.Faults{
		"after the client's end the rest comes and the connection closes": "gnet closes at the FIN with one more try to send what is pending",
		"echoes beside timers": "gnet has a ticker, but no timers",
	})
}
