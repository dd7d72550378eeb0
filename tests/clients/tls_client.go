// Talks to a TLS echo of lines with Go's crypto/tls: ADDRESS ROOT VERSION.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	root, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		log.Fatal("no root")
	}
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[3]]
	config := &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{"echo/1"},
		MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	for round := 0; round < 3; round++ {
		talk(config)
	}
}

func talk(config *tls.Config) {
	connection, err := tls.Dial("tcp", os.Args[1], config)
	check(err)
	defer connection.Close()
	check(connection.SetDeadline(time.Now().Add(20 * time.Second)))
	go func() {
		writer := bufio.NewWriter(connection)
		fmt.Fprint(writer, "session\n")
		for number := 0; number < 20000; number++ {
			fmt.Fprintf(writer, "line %d\n", number)
		}
		writer.Flush()
		// Says close_notify: the echo ends its side when it has answered all.
		connection.CloseWrite()
	}()
	reader := bufio.NewReader(connection)
	session, err := reader.ReadString('\n')
	check(err)
	fmt.Print(session)
	for number := 0; number < 20000; number++ {
		line, err := reader.ReadString('\n')
		check(err)
		if line != fmt.Sprintf("line %d\n", number) {
			log.Fatalf("%q", line)
		}
	}
	// An end without close_notify is another error.
	if _, err := reader.ReadByte(); err != io.EOF {
		log.Fatalf("%v instead of the end", err)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
