package peertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tlsChecks is what holds for a peer that speaks TLS.
var tlsChecks = []check{
	{"bytes come back through TLS", bytesComeBackThroughTLS},
	{"a TLS session is resumed by a ticket", aTLSSessionIsResumedByATicket},
	{"a client that speaks no TLS ends its connection alone", aClientThatSpeaksNoTLSEndsItsConnectionAlone},
	{"a missing certificate is one line and exit code 1", aMissingCertificateFails},
}

// certificate writes a self-signed certificate and its key to files, and returns their paths.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(t.TempDir(), name)
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
		if err := os.WriteFile(path, block, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", bytes)
}

// startTLS runs a peer with a certificate, and makes the configuration of clients that accept it.
func startTLS(t *testing.T, peer string) (server, *tls.Config) {
	t.Helper()
	cert, key := certificate(t)
	config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	return start(t, peer, "--tls-cert", cert, "--tls-key", key), config
}

func bytesComeBackThroughTLS(t *testing.T, peer string) {
	server, config := startTLS(t, peer)
	for _, length := range []int{1, 64, 16 << 10, 1 << 20} {
		conn := tls.Client(server.connect(t), config)
		image := payload(seeded(), length)
		writeBeside(t, conn, image)
		expectBytes(t, conn, image)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, conn)
	}
}

func aTLSSessionIsResumedByATicket(t *testing.T, peer string) {
	server, config := startTLS(t, peer)
	for _, resumed := range []bool{false, true} {
		conn := tls.Client(server.connect(t), config)
		write(t, conn, []byte("hello"))
		expectBytes(t, conn, []byte("hello"))
		if did := conn.ConnectionState().DidResume; did != resumed {
			t.Fatalf("resumed: %v", did)
		}
	}
}

func aClientThatSpeaksNoTLSEndsItsConnectionAlone(t *testing.T, peer string) {
	server, config := startTLS(t, peer)
	good := tls.Client(server.connect(t), config)
	write(t, good, []byte("before"))
	bad := server.connect(t)
	write(t, bad, bytes.Repeat([]byte{0}, 100))
	if _, err := io.Copy(io.Discard, bad); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	expectBytes(t, good, []byte("before"))
}

func aMissingCertificateFails(t *testing.T, peer string) {
	command := exec.Command(filepath.Join(binaries, peer), "--addr", "127.0.0.1:0")
	var problem strings.Builder
	command.Stderr = &problem
	_ = command.Run()
	if code := command.ProcessState.ExitCode(); code != 1 || strings.Count(problem.String(), "\n") != 1 {
		t.Errorf("exit code %d, %q", code, problem.String())
	}
}
