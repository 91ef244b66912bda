//go:build linux

package main

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

// conversation is a client that asked for windows of 4 blocks of 8 bytes.
func conversation(t *testing.T, file []byte) *client {
	t.Helper()
	c, err := newClient(&options{name: "file", want: file, blksize: 8, windowsize: 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

// take hands packets to a client, and returns its answer to the last one.
func take(c *client, packets ...string) (reply bool) {
	for _, p := range packets {
		reply = c.packet([]byte(p))
	}
	return reply
}

const oack = "\x00\x06BLKSIZE\x008\x00windowsize\x004\x00"

func TestRequest(t *testing.T) {
	const want = "\x00\x01file\x00octet\x00blksize\x008\x00windowsize\x004\x00"
	if c := conversation(t, content(66)); string(c.Reply) != want {
		t.Errorf("request %q, want %q", c.Reply, want)
	}
	plain, err := newClient(&options{name: "file", blksize: 512, windowsize: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(plain.fd)
	if string(plain.Reply) != "\x00\x01file\x00octet\x00" {
		t.Errorf("request %q without options", plain.Reply)
	}
}

func TestTimeoutRepeatsWhatHolds(t *testing.T) {
	file := content(66)
	c := conversation(t, file)
	take(c, oack, "\x00\x03\x00\x01"+string(file[:8]), "\x00\x03\x00\x02"+string(file[8:16]))
	if !c.timeout(2) || !bytes.Equal(c.Reply, []byte{0, conformance.OpACK, 0, 2}) || c.repeats != 1 {
		t.Errorf("%v after %d repeats", c.Reply, c.repeats)
	}
	take(c, "\x00\x03\x00\x03"+string(file[16:24]))
	if c.silent != 0 {
		t.Error("a block does not end a silence")
	}
	if !c.timeout(2) || !c.timeout(2) || c.timeout(2) || c.Failed != "no answer to 3 packets" {
		t.Errorf("the third timeout in a row: %q", c.Failed)
	}
}

func TestMalformedPacket(t *testing.T) {
	c := conversation(t, content(66))
	if take(c, "\x00\x05\x00\x01no end") || c.Failed == "" {
		t.Error("an ERROR without its end is taken")
	}
}
