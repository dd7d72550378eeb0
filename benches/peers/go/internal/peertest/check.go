package peertest

import "testing"

// check is a part of the contract.
type check struct {
	name string
	run  func(t *testing.T, peer string)
}

// Faults say of the checks that a library fails, by name, why: they are skipped.
type Faults map[string]string

// TCP holds a peer to what a TCP peer must do.
func TCP(t *testing.T, peer string, faults Faults) {
	run(t, peer, append(commandLine[:len(commandLine):len(commandLine)], tcp...), faults)
}

// WebSocket holds a peer to what a WebSocket peer must do.
func WebSocket(t *testing.T, peer string, faults Faults) {
	run(t, peer, append(commandLine[:len(commandLine):len(commandLine)], webSockets...), faults)
}

// TLS holds a peer to what a TLS peer must do.
func TLS(t *testing.T, peer string, faults Faults) {
	run(t, peer, tlsChecks, faults)
}

func run(t *testing.T, peer string, checks []check, faults Faults) {
	known := make(map[string]bool)
	for _, check := range checks {
		known[check.name] = true
		t.Run(check.name, func(t *testing.T) {
			if why, faulty := faults[check.name]; faulty {
				t.Skip(why)
			}
			check.run(t, peer)
		})
	}
	for name := range faults {
		if !known[name] {
			t.Errorf("there is no check %q", name)
		}
	}
}
