package peer

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// Addr is the address to listen on, for a library that makes its listener itself and does not say where it ended up:
// port 0 is exchanged for a port that stays reserved until the process ends. An unusable address ends the process.
func (f *Flags) Addr() string {
	addr, err := net.ResolveTCPAddr("tcp", *f.addr)
	if err == nil && addr.Port == 0 {
		addr.Port, err = reservePort(addr.IP)
	}
	if err != nil {
		Fail(err)
	}
	return addr.String()
}

// Workers is the number of event loops that are wanted.
func (f *Flags) Workers() int {
	return *f.workers
}

// Announce says where the peer listens.
func Announce(addr string) {
	fmt.Println("listening on", addr)
}

// reservePort binds a socket to a free port and keeps it. The kernel hands the port to nobody else, but allows the
// library's listener beside it: both are SO_REUSEADDR, and this one never listens.
func reservePort(ip net.IP) (int, error) {
	var family int
	var wanted syscall.Sockaddr
	if ip4 := ip.To4(); ip4 != nil {
		family, wanted = syscall.AF_INET, &syscall.SockaddrInet4{Addr: [4]byte(ip4)}
	} else {
		var all [16]byte
		copy(all[:], ip)
		family, wanted = syscall.AF_INET6, &syscall.SockaddrInet6{Addr: all}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, wanted); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	// Only now: before, the kernel might pick a port that another such socket holds.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	switch bound := bound.(type) {
	case *syscall.SockaddrInet4:
		return bound.Port, nil
	case *syscall.SockaddrInet6:
		return bound.Port, nil
	}
	return 0, fmt.Errorf("bound to %T", bound)
}
