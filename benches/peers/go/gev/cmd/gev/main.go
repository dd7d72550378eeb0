// Command gev echoes over TCP with github.com/Allenxuxu/gev: event loops that call back.
//
// Peculiar to the library: it does not read from a connection while output is pending to it.
package main

import (
	"github.com/Allenxuxu/gev"

	"ringwheel/benches/peers/gev/internal/loops"
	"ringwheel/benches/peers/internal/peer"
)

func main() {
	flags := peer.NewFlags()
	framing := flags.Framing()
	timers := flags.Timers()
	flags.Parse()
	server, addr := loops.Listen(flags, echo{}, protocolOf(*framing))
	keepTimers(server, *timers)
	peer.Announce(addr)
	server.Start()
}

func protocolOf(framing peer.Framing) gev.Protocol {
	switch framing {
	case peer.LengthPrefixed:
		return &lengthPrefixed{}
	case peer.Lines:
		return &lines{}
	}
	return &gev.DefaultProtocol{}
}

// echo returns each message; the library gathers the replies to one read.
type echo struct{}

func (echo) OnConnect(conn *gev.Connection) {
	conn.SetContext(new(progress))
}

func (echo) OnMessage(_ *gev.Connection, _ any, message []byte) any {
	return message
}

func (echo) OnClose(*gev.Connection) {}

// keepTimers runs that many timers on the server's wheel, without end.
func keepTimers(server *gev.Server, timers int) {
	for _, lasting := range peer.TimerDurations(timers) {
		var again func()
		again = func() { server.RunAfter(lasting, again) }
		again()
	}
}
