// Command gnet echoes over TCP with github.com/panjf2000/gnet: event loops that call back.
//
// Peculiar to the library: when the client has sent its FIN, it tries once more to send what is pending, closes the
// connection and drops the rest. What a client has not taken yet is kept without bound.
package main

import (
	"sync"

	"github.com/panjf2000/gnet/v2"

	"ringwheel/benches/peers/internal/peer"
)

func main() {
	flags := peer.NewFlags()
	framing := flags.Framing()
	flags.Parse()
	addr := flags.Addr()
	// TCP_NODELAY is on by default. Polling is level-triggered, also the default: the library advises against the other,
	// and at 64 bytes a message that costs as much.
	err := gnet.Run(&server{framing: *framing, addr: addr}, "tcp://"+addr,
		gnet.WithNumEventLoop(flags.Workers()),
		gnet.WithReuseAddr(true), // as Go's own listeners are, and beside the reserved port
		gnet.WithLogger(silence{}),
	)
	if err != nil {
		peer.Fail(err)
	}
}

type server struct {
	gnet.BuiltinEventEngine
	framing peer.Framing
	addr    string
}

func (s *server) OnBoot(gnet.Engine) gnet.Action {
	peer.Announce(s.addr)
	return gnet.None
}

func (s *server) OnOpen(conn gnet.Conn) ([]byte, gnet.Action) {
	if s.framing == peer.Lines {
		conn.SetContext(peer.NewSplitter(peer.Lines))
	}
	return nil, gnet.None
}

func (s *server) OnTraffic(conn gnet.Conn) gnet.Action {
	if s.framing == peer.Raw {
		chunk, _ := conn.Next(-1)
		_, _ = conn.Write(chunk)
		return gnet.None
	}
	replies := gathered.Get().(*[]byte)
	defer gathered.Put(replies)
	var err error
	if s.framing == peer.LengthPrefixed {
		*replies, err = echoLengthPrefixed((*replies)[:0], conn)
	} else {
		*replies, err = echoLines((*replies)[:0], conn)
	}
	// One write for all replies to what was read, as the library's examples gather theirs; it closes the connection
	// itself when it cannot write.
	if len(*replies) > 0 {
		_, _ = conn.Write(*replies)
	}
	if err != nil {
		return gnet.Close
	}
	return gnet.None
}

// gathered has buffers for the replies to one read.
var gathered = sync.Pool{New: func() any { return new([]byte) }}

// echoLengthPrefixed looks at the connection's own buffer, which keeps what is not discarded.
func echoLengthPrefixed(replies []byte, conn gnet.Conn) ([]byte, error) {
	for conn.InboundBuffered() >= peer.PrefixLength {
		prefix, err := conn.Peek(peer.PrefixLength)
		if err != nil {
			return replies, err
		}
		length, err := peer.MessageLength(prefix)
		if err != nil {
			return replies, err
		}
		if conn.InboundBuffered() < length {
			return replies, nil
		}
		message, err := conn.Peek(length)
		if err != nil {
			return replies, err
		}
		replies = append(replies, message...)
		if _, err := conn.Discard(length); err != nil {
			return replies, err
		}
	}
	return replies, nil
}

// echoLines takes everything, because the connection's own buffer would have to be searched from its start for each
// part of a long line.
func echoLines(replies []byte, conn gnet.Conn) ([]byte, error) {
	chunk, err := conn.Next(-1)
	if err != nil {
		return replies, err
	}
	return conn.Context().(*peer.Splitter).Echo(replies, chunk)
}

// silence keeps the library from writing to standard error, where a peer says in one line why it ends.
type silence struct{}

func (silence) Debugf(string, ...any) {}
func (silence) Infof(string, ...any)  {}
func (silence) Warnf(string, ...any)  {}
func (silence) Errorf(string, ...any) {}
func (silence) Fatalf(string, ...any) {}
