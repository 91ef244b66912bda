package tftp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// A kernel that merges nothing hands over datagrams one by one, several a call;
// one that is too long is not taken for one that is not.
func TestInboxBatches(t *testing.T) {
	server := newWire(t, netip.AddrPort{})
	conn := listen(t, "127.0.0.1:0")
	in, err := newInbox(newDoor(conn, server.addr()), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	server.peer = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	server.peer = netip.AddrPortFrom(server.addr().Addr(), server.peer.Port())
	in.batches(64, headerLen+8)
	in.patience(5 * time.Second)
	want := [][]byte{data(1, pattern(8)), data(2, pattern(7)), data(3, nil), data(4, pattern(9))}
	for _, p := range append(want, data(5, pattern(500))) {
		server.send(p)
	}
	for got := 0; got < 5; {
		n, err := in.read()
		if err != nil || n == 0 {
			t.Fatalf("%d datagrams, %v", n, err)
		}
		for i := range n {
			p, size := in.datagram(i)
			if size != len(p) || got < 4 && !bytes.Equal(p, want[got]) || got == 4 && len(p) != headerLen+9 {
				t.Errorf("datagram %d: %s, of %d", got, short(p), size)
			}
			got++
		}
	}
	in.send(ack(5))
	server.want(ack(5))
	in.patience(20 * time.Millisecond)
	if n, err := in.read(); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silence: %d, %v", n, err)
	}
	in.patience(time.Minute)
	time.AfterFunc(20*time.Millisecond, in.wake)
	if n, err := in.read(); n != 0 || err != nil {
		t.Errorf("woken: %d, %v", n, err)
	}
}
