// Package peer holds what the Go peers share: their command line, their listener and their limits.
package peer

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
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

// Framing adds -framing.
func (f *Flags) Framing() *Framing {
	framing := Raw
	usage := fmt.Sprintf("how messages are told apart: %s, %s or %s (default %s)", Raw, LengthPrefixed, Lines, Raw)
	f.set.Func("framing", usage, func(name string) error {
		switch framing = Framing(name); framing {
		case Raw, LengthPrefixed, Lines:
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
