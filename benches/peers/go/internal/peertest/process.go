// Package peertest holds the peers to their contract, as processes, over loopback.
package peertest

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long any single test may wait in all; it says that something hangs, not that it is slow.
const patience = 60 * time.Second

// binaries is the folder where the commands are built.
var binaries string

// Main builds the commands of the module whose tests these are, and runs the tests.
func Main(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	folder, err := os.MkdirTemp("", "peers")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	binaries = folder
	build := exec.Command("go", "build", "-o", folder+string(filepath.Separator), "./cmd/...")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the peers:", err)
		return 1
	}
	return m.Run()
}

// server is a peer that runs until its test ends.
type server struct {
	addr string
	pid  int
}

// start runs a peer on a free port.
func start(t *testing.T, name string, args ...string) server {
	t.Helper()
	args = append([]string{"--addr", "127.0.0.1:0"}, args...)
	return startCommand(t, exec.Command(filepath.Join(binaries, name), args...))
}

func startCommand(t *testing.T, command *exec.Cmd) server {
	t.Helper()
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	_ = output.(*os.File).SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(output).ReadString('\n')
	addr, announced := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listening on ")
	if err != nil || !announced {
		t.Fatalf("announced %q: %v", line, err)
	}
	return server{addr, command.Process.Pid}
}

// connect opens a connection whose every operation fails when patience is over.
func (s server) connect(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func write(t *testing.T, conn net.Conn, bytes []byte) {
	t.Helper()
	if _, err := conn.Write(bytes); err != nil {
		t.Fatal(err)
	}
}

// seeded is a source that gives the same numbers in each run.
func seeded() *rand.Rand {
	return rand.New(rand.NewPCG(18, 33))
}

// payload makes bytes that look like noise, without a line feed.
func payload(random *rand.Rand, length int) []byte {
	bytes := make([]byte, length)
	for i := range bytes {
		if bytes[i] = byte(random.Uint32()); bytes[i] == '\n' {
			bytes[i] = ' '
		}
	}
	return bytes
}
