package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// acceptPause is how long accepting rests after a failure such as a lack of descriptors.
const acceptPause = 5 * time.Millisecond

// Listen listens on -addr and says so on standard output; a failure ends the process.
//
// Go turns TCP_NODELAY on by itself. Keep-alive probes and Multipath TCP, which it would turn on too, are off: the
// other peers' connections have neither, and setting the probes up costs system calls for each connection.
func (f *Flags) Listen() net.Listener {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", *f.addr)
	if err != nil {
		Fail(err)
	}
	fmt.Println("listening on", listener.Addr())
	return patient{listener}
}

// patient is a listener whose Accept outlives the failures that pass, where callers would give up or spin.
type patient struct{ net.Listener }

func (p patient) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		time.Sleep(acceptPause)
	}
}
