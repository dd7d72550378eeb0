// Package loops starts gev's event loops as the peers' contract asks.
package loops

import (
	"os"
	"strconv"
	"syscall"

	"github.com/Allenxuxu/gev"
	"github.com/Allenxuxu/gev/log"

	"ringwheel/benches/peers/internal/peer"
)

// Listen makes a server that listens on -addr, with -workers loops; a failure ends the process.
func Listen(flags *peer.Flags, handler gev.Handler, protocol gev.Protocol) (server *gev.Server, addr string) {
	addr = flags.Addr()
	log.SetLevel(log.LevelFatal) // standard error is for why a peer ends
	server, err := gev.NewServer(handler,
		gev.Network("tcp"),
		gev.Address(addr),
		gev.NumLoops(flags.Workers()),
		gev.CustomProtocol(protocol),
	)
	if err == nil {
		err = setNoDelay()
	}
	if err != nil {
		peer.Fail(err)
	}
	return server, addr
}

// setNoDelay turns TCP_NODELAY on for the connections to come, which inherit it from the listener. The library does not
// set it and shows neither the listener nor a connection's descriptor, so the listener is looked up among all.
func setNoDelay() error {
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		// What is no socket, or is the folder itself and closed by now, answers with an error.
		listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			continue
		}
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}
