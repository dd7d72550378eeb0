// Package peer holds what the Go peers share: their command line, their listener and their limits.
package peer

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// MaxMessage is the payload of the largest message that must pass, in bytes. A larger one ends its connection.
const MaxMessage = 16 << 20

// Framing says how a stream of bytes is split into messages.
type Framing string

// The framings that a TCP peer speaks.
const (
	// Raw echoes bytes as they come.
	Raw Framing = "raw"
	// LengthPrefixed puts a big-endian u32 payload length before each payload.
	LengthPrefixed Framing = "length-prefixed"
	// Lines ends each message with a line feed.
	Lines Framing = "lines"
)

// The framings that a WebSocket peer speaks.
const (
	// WebSocket has frames without compression.
	WebSocket Framing = "websocket"
	// WebSocketDeflate agrees to permessage-deflate, without context takeover.
	WebSocketDeflate Framing = "websocket-deflate"
)

// DeflateLevel is what peers compress with: the fastest that does compress, for all the same.
const DeflateLevel = 1

// Flags is the command line of a peer. Every peer takes -addr and -workers; it asks for what else it can do.
type Flags struct {
	set     *flag.FlagSet
	addr    *string
	workers *int
}

// NewFlags makes the command line that all peers have in common.
func NewFlags() *Flags {
	set := flag.NewFlagSet(os.Args[0], flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return &Flags{
		set:     set,
		addr:    set.String("addr", "127.0.0.1:1833", "`host:port` to listen on"),
		workers: set.Int("workers", 1, "threads that run Go code, where more than there are processors"),
	}
}

// Framing adds -framing, for a TCP peer.
func (f *Flags) Framing() *Framing {
	return f.framing(Raw, LengthPrefixed, Lines)
}

// Deflate adds -framing, for a WebSocket peer that can compress.
func (f *Flags) Deflate() *Framing {
	return f.framing(WebSocket, WebSocketDeflate)
}

// framing adds a choice of framings, of which the first is the default.
func (f *Flags) framing(choice ...Framing) *Framing {
	framing := choice[0]
	usage := fmt.Sprintf("how messages are told apart: one of %v (default %s)", choice, framing)
	f.set.Func("framing", usage, func(name string) error {
		if framing = Framing(name); slices.Contains(choice, framing) {
			return nil
		}
		return errors.New("no such framing")
	})
	return &framing
}

// Timers adds -timers.
func (f *Flags) Timers() *int {
	return f.set.Int("timers", 0, "timers to keep running besides")
}

// Broadcast adds -broadcast.
func (f *Flags) Broadcast() *bool {
	return f.set.Bool("broadcast", false, "send every message to all connections instead of back")
}

// Certificate adds -tls-cert and -tls-key. What it returns reads the files, once the command line has been parsed; a mistake
// in them ends the process.
func (f *Flags) Certificate() func() tls.Certificate {
	cert := f.set.String("tls-cert", "", "PEM `file` with the certificate")
	key := f.set.String("tls-key", "", "PEM `file` with the private key")
	return func() tls.Certificate {
		certificate, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			Fail(err)
		}
		return certificate
	}
}

// Parse reads the command line and sets the number of workers; a mistake in it ends the process.
//
// The runtime's default stands (one thread for each processor that the process may use) unless more workers are wanted
// than that: so a peer that is pinned to one processor runs on one thread.
func (f *Flags) Parse() {
	err := f.set.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		f.set.SetOutput(os.Stdout)
		f.set.Usage()
		os.Exit(0)
	}
	switch {
	case err != nil:
		Fail(err)
	case f.set.NArg() > 0:
		Fail(fmt.Errorf("unexpected argument %q", f.set.Arg(0)))
	case *f.workers < 1:
		Fail(errors.New("-workers must be at least 1"))
	}
	if *f.workers > runtime.NumCPU() {
		runtime.GOMAXPROCS(*f.workers)
	}
}

// Fail says in one line what went wrong and ends the process.
func Fail(err error) {
	fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", " "))
	os.Exit(1)
}
