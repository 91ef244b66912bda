//go:build linux

package main

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// conversation is a client that was granted windows of 4 blocks of 8 bytes.
func conversation(t *testing.T, size int) *client {
	t.Helper()
	c, err := newClient(&options{name: "file", want: content(size), blksize: 8, windowsize: 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	if want := "\x00\x01file\x00octet\x00blksize\x008\x00windowsize\x004\x00"; string(c.out) != want {
		t.Fatalf("request %q, want %q", c.out, want)
	}
	if !c.packet([]byte("\x00\x06BLKSIZE\x008\x00windowsize\x004\x00")) || !bytes.Equal(c.out, []byte{0, opACK, 0, 0}) {
		t.Fatalf("answer to OACK: %v, %q", c.out, c.failed)
	}
	return c
}

// play hands over blocks, and returns those acknowledged.
func play(c *client, blocks ...int) (acked []int) {
	for _, n := range blocks {
		p := []byte{0, opDATA, byte(n >> 8), byte(n)}
		if off := (n - 1) * 8; off < len(c.want) {
			p = append(p, c.want[off:min(off+8, len(c.want))]...)
		}
		if c.packet(p) {
			acked = append(acked, int(c.out[2])<<8|int(c.out[3]))
		}
	}
	return acked
}

// RFC 7440 section 4.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name   string
		blocks []int
		acked  string
	}{
		{"in order", []int{1, 2, 3, 4, 5, 6, 7, 8}, "[4 8]"},
		{"one ACK a gap", []int{1, 3, 4, 2, 3, 4, 5, 6}, "[1 5]"},
		{"the first is missing", []int{2, 3, 4, 1, 2, 3, 4}, "[0 4]"},
		{"a second gap", []int{1, 3, 4, 2, 4, 5}, "[1 2]"},
		{"a window once more: its ACK was lost", []int{1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8}, "[4 4 8]"},
		{"old ones are ignored", []int{1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7, 8}, "[4 8]"},
		{"beyond the window", []int{1, 9, 2, 3, 4}, "[4]"},
		{"the end", []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, "[4 8 9]"},
		{"the end once more", []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 9}, "[4 8 9 9]"},
	} {
		w := conversation(t, 66)
		if got := fmt.Sprint(play(w, c.blocks...)); got != c.acked || w.failed != "" {
			t.Errorf("%s: acknowledged %s, want %s; %s", c.name, got, c.acked, w.failed)
		}
	}
}

func TestTimeoutRepeatsWhatHolds(t *testing.T) {
	c := conversation(t, 66)
	play(c, 1, 2)
	c.known = true
	if !c.timeout(2) || !bytes.Equal(c.out, []byte{0, opACK, 0, 2}) {
		t.Errorf("%v", c.out)
	}
	if got := fmt.Sprint(play(c, 3, 4, 5, 6)); got != "[6]" {
		t.Errorf("a window begins after an ACK: %s", got)
	}
	if c.timeout(2); !c.timeout(2) || c.timeout(2) || c.failed == "" {
		t.Errorf("the third timeout in a row: %+v", c)
	}
}

func TestRollover(t *testing.T) {
	c := conversation(t, 8*65540)
	for n := 1; n <= 65540; n++ {
		play(c, n)
	}
	if !c.packet([]byte{0, opDATA, 0, 5}) || !c.over || c.failed != "" {
		t.Errorf("block %d: %s", c.next, c.failed)
	}
}

func TestOptionsThatWereNotAskedFor(t *testing.T) {
	for _, oack := range []string{"blksize\x009\x00", "blksize\x007\x00", "windowsize\x005\x00blksize\x008\x00", "blksize\x00x\x00", "windowsize\x002\x00"} {
		c, err := newClient(&options{name: "file", want: content(66), blksize: 8, windowsize: 4}, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(c.fd)
		if c.packet([]byte("\x00\x06"+oack)) || c.failed == "" {
			t.Errorf("%q is taken", oack)
		}
	}
}
