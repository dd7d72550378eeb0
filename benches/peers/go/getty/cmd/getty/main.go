// Command getty echoes over TCP with github.com/apache/dubbo-getty: sessions that call back, each with a goroutine.
//
// Peculiar to the library: it reads 4 KiB at most at once, and answers each message with a write of its own. Each
// session has a timer, which outlives it by up to a minute, in a sorted list that is searched from its start for each
// new one. When descriptors run out, accepting spins.
//
// The library makes its listener itself, and Go would let that speak Multipath TCP, as no other peer does: it is off.
//
//go:debug multipathtcp=0
package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	getty "github.com/apache/dubbo-getty"

	"ringwheel/benches/peers/internal/peer"
)

const (
	// The kernel's buffers of a connection, in bytes, as the library's examples have them. At 16 KiB a message they are
	// worth some percent, at 64 bytes nothing.
	kernelReadBuffer  = 256 << 10
	kernelWriteBuffer = 512 << 10
	// noTimeout stands for none, which the library does not know. By default, an idle session would wake up each second
	// to read again, and one that cannot write for a second would end and lose bytes.
	noTimeout = 365 * 24 * time.Hour
	// linger bounds how long closing a connection may hold a thread while its client does not take the rest, which the
	// kernel goes on sending. It is a second: the library takes the nanoseconds of this duration for seconds, so that its
	// default and its examples would have it wait for decades.
	linger time.Duration = 1
)

func main() {
	flags := peer.NewFlags()
	framing := flags.Framing()
	flags.Parse()
	addr := flags.Addr()
	// The default level writes to standard error, where a peer says in one line why it ends, for each connection.
	if err := getty.SetLoggerLevel(getty.LoggerLevelFatal); err != nil {
		peer.Fail(err)
	}
	// Without a task pool, as by default, a session's own goroutine answers its messages, in order.
	if err := listen(getty.NewTCPServer(getty.WithLocalAddress(addr)), *framing); err != nil {
		peer.Fail(err)
	}
	peer.Announce(addr)
	select {}
}

// listen starts the server, which panics if it cannot listen.
func listen(server getty.Server, framing peer.Framing) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			reason, _, _ := strings.Cut(fmt.Sprint(problem), "\n") // the stack follows
			err = errors.New(reason)
		}
	}()
	server.RunEventLoop(func(session getty.Session) error { return setUp(session, framing) })
	return nil
}

// setUp readies a session that was accepted; at an error, the library closes it.
func setUp(session getty.Session, framing peer.Framing) error {
	// Go has turned TCP_NODELAY on.
	conn, ok := session.Conn().(*net.TCPConn)
	if !ok {
		return fmt.Errorf("a session over %T", session.Conn())
	}
	if err := conn.SetReadBuffer(kernelReadBuffer); err != nil {
		return err
	}
	if err := conn.SetWriteBuffer(kernelWriteBuffer); err != nil {
		return err
	}
	session.SetPkgHandler(newCodec(framing))
	session.SetEventListener(echo{})
	session.SetMaxMsgLen(peer.PrefixLength + peer.MaxMessage)
	session.SetReadTimeout(noTimeout)
	session.SetWriteTimeout(noTimeout)
	session.SetWaitTime(linger)
	// The period of OnCron, which has nothing to do, is the default of a minute: a second would let connections come and
	// go twice as fast, but take a quarter from the throughput of ten thousand.
	return nil
}

// echo answers each message with itself.
type echo struct{}

// OnMessage writes by WritePkg, because WriteBytes sends 16 KiB with each system call. The session's goroutine waits
// while the client does not take the answer, so that reading from it pauses.
func (echo) OnMessage(session getty.Session, message any) {
	const keepTimeout = -1
	if _, _, err := session.WritePkg(message, keepTimeout); err != nil {
		session.Close()
	}
}

func (echo) OnOpen(getty.Session) error   { return nil }
func (echo) OnClose(getty.Session)        {}
func (echo) OnError(getty.Session, error) {}
func (echo) OnCron(getty.Session)         {}
