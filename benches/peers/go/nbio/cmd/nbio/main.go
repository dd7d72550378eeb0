// Command nbio echoes over TCP with github.com/lesismal/nbio: event loops that call back.
//
// Peculiar to the library: when the client has sent its FIN, it closes the connection at once and drops the output that
// is pending and the input that three reads have not taken. What a client has not taken yet is kept without bound.
package main

import (
	"net"
	"sync"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"

	"ringwheel/benches/peers/internal/peer"
)

func main() {
	flags := peer.NewFlags()
	framing := flags.Framing()
	timers := flags.Timers()
	flags.Parse()
	listener := flags.Listen()
	logging.SetLevel(logging.LevelNone)
	// Polling is level-triggered and the loop reads by itself, as by default.
	engine := nbio.NewEngine(nbio.Config{
		Network: "tcp",
		Addrs:   []string{listener.Addr().String()},
		Listen:  func(string, string) (net.Listener, error) { return listener, nil },
		NPoller: flags.Workers(),
	})
	if *framing == peer.Raw {
		// The library copies what it cannot send at once.
		engine.OnData(func(conn *nbio.Conn, chunk []byte) { _, _ = conn.Write(chunk) })
	} else {
		engine.OnOpen(func(conn *nbio.Conn) { conn.SetSession(peer.NewSplitter(*framing)) })
		engine.OnData(echoMessages)
	}
	if err := engine.Start(); err != nil {
		peer.Fail(err)
	}
	keepTimers(engine, *timers)
	select {}
}

// gathered has buffers for the replies to one read.
var gathered = sync.Pool{New: func() any { return new([]byte) }}

// echoMessages writes all replies to one read together. They are gathered in a buffer, because the library's Writev
// loses bytes when the socket does not take all of them.
func echoMessages(conn *nbio.Conn, chunk []byte) {
	replies := gathered.Get().(*[]byte)
	defer gathered.Put(replies)
	var err error
	*replies, err = conn.Session().(*peer.Splitter).Echo((*replies)[:0], chunk)
	_, _ = conn.Write(*replies) // does nothing if there are none, and closes the connection if it fails
	if err != nil {
		_ = conn.Close()
	}
}

// keepTimers runs that many timers of the engine's, without end.
func keepTimers(engine *nbio.Engine, timers int) {
	for _, lasting := range peer.TimerDurations(timers) {
		var again func()
		again = func() { engine.AfterFunc(lasting, again) }
		again()
	}
}
