package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// conversation is a download of a file in windows of 4 blocks of 8 bytes. They
// were granted.
func conversation(t *testing.T, file []byte) *Download {
	t.Helper()
	d := NewDownload("file", "octet", "blksize", "8", "windowsize", "4")
	d.Deliver = func(offset int64, data []byte, _ bool) error {
		if !bytes.Equal(data, file[offset:offset+int64(len(data))]) {
			return fmt.Errorf("block at %d", offset)
		}
		return nil
	}
	if want := "\x00\x01file\x00octet\x00blksize\x008\x00windowsize\x004\x00"; string(d.Reply) != want {
		t.Fatalf("request %q, want %q", d.Reply, want)
	}
	if !d.Take(parsed(t, "\x00\x06BLKSIZE\x008\x00windowsize\x004\x00")) || !bytes.Equal(d.Reply, []byte{0, OpACK, 0, 0}) {
		t.Fatalf("answer to OACK: %v, %q", d.Reply, d.Failed)
	}
	return d
}

func parsed(t *testing.T, p string) Packet {
	t.Helper()
	k, err := Parse([]byte(p))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// play hands over blocks, and returns those acknowledged.
func play(d *Download, file []byte, blocks ...int) (acked []int) {
	for _, n := range blocks {
		k := Packet{Op: OpDATA, Block: uint16(n)}
		if offset := (n - 1) * 8; offset < len(file) {
			k.Data = file[offset:min(offset+8, len(file))]
		}
		if d.Take(k) {
			acked = append(acked, int(d.Reply[2])<<8|int(d.Reply[3]))
		}
	}
	return acked
}

// RFC 7440 section 4.
func TestWindows(t *testing.T) {
	file := files()["mib"][:66]
	for _, tt := range []struct {
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
		t.Run(tt.name, func(t *testing.T) {
			d := conversation(t, file)
			if got := fmt.Sprint(play(d, file, tt.blocks...)); got != tt.acked || d.Failed != "" {
				t.Errorf("acknowledged %s, want %s; %s", got, tt.acked, d.Failed)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	file := files()["mib"][:66]
	d := conversation(t, file)
	play(d, file, 1, 2)
	if d.Timeout(); !bytes.Equal(d.Reply, []byte{0, OpACK, 0, 2}) {
		t.Errorf("after two blocks: %v", d.Reply)
	}
	if got := fmt.Sprint(play(d, file, 3, 4, 5, 6)); got != "[6]" {
		t.Errorf("a window begins after an ACK: %s", got)
	}
	unanswered := NewDownload("file", "octet")
	if unanswered.Timeout(); string(unanswered.Reply) != "\x00\x01file\x00octet\x00" {
		t.Errorf("without an answer: %q", unanswered.Reply)
	}
}

func TestRollover(t *testing.T) {
	file := files()["rollover"][:8*65540]
	d := conversation(t, file)
	for n := 1; n <= 65540; n++ {
		play(d, file, n)
	}
	if !d.Take(Packet{Op: OpDATA, Block: 5}) || !d.Over || d.Failed != "" {
		t.Errorf("block %d: %s", d.Blocks(), d.Failed)
	}
}

func TestOptionsThatWereNotAskedFor(t *testing.T) {
	for _, oack := range []string{"blksize\x009\x00", "blksize\x007\x00", "windowsize\x005\x00blksize\x008\x00", "blksize\x00x\x00"} {
		t.Run(oack, func(t *testing.T) {
			d := NewDownload("file", "octet", "blksize", "8", "windowsize", "4")
			if d.Take(parsed(t, "\x00\x06"+oack)) || d.Failed == "" {
				t.Error("it is taken")
			}
		})
	}
}

func TestDownloadFails(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		corrupt    bool
		packet     Packet
	}{
		{"ERROR", `ERROR 1 "no"`, false, Packet{Op: OpERROR, Block: 1, Text: "no"}},
		{"a block that is too long", "a block of 9 bytes where 8 were agreed", true, Packet{Op: OpDATA, Block: 1, Data: make([]byte, 9)}},
		{"a block that is not taken", "wrong content: full", true, Packet{Op: OpDATA, Block: 1, Data: []byte("x")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := conversation(t, nil)
			d.Deliver = func(int64, []byte, bool) error { return errors.New("full") }
			if d.Take(tt.packet) || !d.Over || d.Corrupt != tt.corrupt || !bytes.Contains([]byte(d.Failed), []byte(tt.says)) {
				t.Errorf("%q, corrupt %v", d.Failed, d.Corrupt)
			}
			if d.Take(Packet{Op: OpDATA, Block: 1}) {
				t.Error("it goes on")
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ packet, want string }{
		{"\x00\x03\x00\x07abc", "DATA 7 (3 bytes)"},
		{"\x00\x04\x01\x00", "ACK 256"},
		{"\x00\x05\x00\x01no\x00", `ERROR 1 "no"`},
		{"\x00\x06TSIZE\x009\x00blksize\x008\x00", "OACK (blksize 8, tsize 9)"},
		{"\x00\x06", "OACK ()"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := parsed(t, tt.packet).String(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	for _, wrong := range []string{"", "\x00", "\x00\x03\x00", "\x00\x04", "\x00\x05\x00\x01no", "\x00\x05\x00\x01no\x00more", "\x00\x06a", "\x00\x06a\x00", "\x00\x06a\x001\x00A\x002\x00", "\x00\x07\x00\x00", "\x00\x01a\x00octet\x00"} {
		t.Run(fmt.Sprintf("%q", wrong), func(t *testing.T) {
			if k, err := Parse([]byte(wrong)); err == nil {
				t.Errorf("it is %v", k)
			}
		})
	}
}
