package peertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// commandLine is what holds for every peer.
var commandLine = []check{
	{"a failure to start is one line and exit code 1", failsInOneLine},
	{"the soft limit of descriptors is raised to the hard one", raisesTheSoftLimit},
}

func failsInOneLine(t *testing.T, peer string) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, args := range [][]string{
		{"--addr", taken.Addr().String()},
		{"--addr", "nonsense"},
		{"--workers", "0"},
		{"--framing", "smoke-signals"},
		{"--no-such-flag"},
		{"stray"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			command := exec.Command(filepath.Join(binaries, peer), args...)
			var problem strings.Builder
			command.Stderr = &problem
			output, _ := command.Output()
			if code := command.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if text := problem.String(); strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
				t.Errorf("standard error: %q", text)
			}
			if len(output) != 0 {
				t.Errorf("standard output: %q", output)
			}
		})
	}
}

func raisesTheSoftLimit(t *testing.T, peer string) {
	binary := filepath.Join(binaries, peer)
	shell := exec.Command("sh", "-c", `ulimit -S -n 64 && exec "$0" --addr 127.0.0.1:0`, binary)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", startCommand(t, shell).pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	_, rest, _ := strings.Cut(string(limits), "Max open files")
	var soft, hard int
	if _, err := fmt.Sscan(rest, &soft, &hard); err != nil {
		t.Fatal(err)
	}
	// The runtime stays one below the hard limit.
	if soft < hard-1 {
		t.Errorf("soft limit %d, hard limit %d", soft, hard)
	}
}
