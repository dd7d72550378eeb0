package peers_test

import (
	"testing"

	"ringwheel/benches/peers/internal/peertest"
)

func TestMain(m *testing.M) {
	peertest.Main(m)
}

func TestGetty(t *testing.T) {
	peertest.TCP(t, "getty", peertest.Faults{
		"echoes beside timers": "getty has a cron for each session, but no timers",
	})
}
