package peer

import (
	"bytes"
	"errors"
	"testing"
)

func TestAStreamIsSplitWhereverItIsCut(t *testing.T) {
	streams := map[Framing]string{
		LengthPrefixed: "\x00\x00\x00\x00\x00\x00\x00\x03one\x00\x00\x00\x05three",
		Lines:          "\none\nthree\n",
	}
	for framing, stream := range streams {
		for first := range len(stream) + 1 {
			for second := first; second <= len(stream); second++ {
				splitter := NewSplitter(framing)
				var out []byte
				for _, chunk := range []string{stream[:first], stream[first:second], stream[second:]} {
					before := len(out)
					var err error
					if out, err = splitter.Echo(out, []byte(chunk)); err != nil {
						t.Fatal(err)
					}
					if framing == Lines && len(out) > before && out[len(out)-1] != '\n' {
						t.Fatalf("%s cut at %d and %d: part of a line came out", framing, first, second)
					}
				}
				if string(out) != stream || len(splitter.begun) != 0 {
					t.Fatalf("%s cut at %d and %d: %q, and %q kept", framing, first, second, out, splitter.begun)
				}
			}
		}
	}
}

func TestAMessageAboveTheLimitIsRefusedAfterThoseBeforeIt(t *testing.T) {
	before := []byte("\x00\x00\x00\x02ok")
	out, err := NewSplitter(LengthPrefixed).Echo(nil, append(bytes.Clone(before), "\x01\x00\x00\x01"...))
	if !errors.Is(err, ErrTooLarge) || !bytes.Equal(out, before) {
		t.Errorf("%q, %v", out, err)
	}
	out, err = NewSplitter(Lines).Echo(nil, bytes.Repeat([]byte("x"), MaxMessage+PrefixLength+1))
	if !errors.Is(err, ErrTooLarge) || len(out) != 0 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}
