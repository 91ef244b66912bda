package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/nettest"
)

// A file may end in the window in which the numbers roll over to 1.
func TestRollsToOneAtItsEnd(t *testing.T) {
	t.Parallel()
	for _, extra := range []int{3, 5*8 + 3, 64*8 + 3} {
		file := pattern(65535*8 + extra)
		b := serve(t, map[string][]byte{"f": file}, func(s *Server) { s.RollToOne = true })
		var got bytes.Buffer
		if tr, err := (&Client{Blksize: 8, Windowsize: 60}).Get(t.Context(), b.addr, "f", &got); err != nil || !bytes.Equal(got.Bytes(), file) {
			t.Errorf("%d bytes behind block 65535: %+v, %v", extra, tr, err)
		}
	}
}

// A hungFile is a file on a disk that does not answer.
type hungFile chan struct{}

func (h hungFile) ReadAt(p []byte, _ int64) (int, error) {
	<-h
	return len(p), nil
}

// Files on a disk that hangs hold up nobody else's.
func TestHungFiles(t *testing.T) {
	t.Parallel()
	h, file := make(hungFile), pattern(3000)
	defer close(h)
	b := serve(t, nil, func(s *Server) {
		s.Open = func(_ context.Context, r *Request) (*Source, error) {
			if r.Name == "f" {
				return &Source{ReaderAt: bytes.NewReader(file), Size: int64(len(file))}, nil
			}
			return &Source{ReaderAt: h, Size: 1 << 30, Key: r.Name}, nil
		}
	})
	for i := range 12 {
		w := b.newPeer(t)
		w.send(rrq(fmt.Sprint("hung", i), "windowsize", "64", "blksize", "1428"))
		w.recv(time.Second)
		w.send(ack(0))
	}
	var got bytes.Buffer
	if tr, err := new(Client).Get(t.Context(), b.addr, "f", &got); err != nil || !bytes.Equal(got.Bytes(), file) {
		t.Errorf("%+v, %v", tr, err)
	}
}

type counted struct{ n *atomic.Int64 }

func (c counted) Write(p []byte) (int, error) { return len(p), nil }

func (c counted) Close() error {
	c.n.Add(-1)
	return nil
}

// Uploads that somebody asked for in the name of others keep few files open,
// and no honest one out.
func TestUploadsOfNobody(t *testing.T) {
	synctest.Test(t, testUploadsOfNobody)
}

func testUploadsOfNobody(t *testing.T) {
	var n atomic.Int64
	b := serveMemory(t, nil, func(s *Server) {
		s.Uploads = storeUploads(func(context.Context, *Request) (io.WriteCloser, error) {
			n.Add(1)
			return counted{&n}, nil
		})
	})
	for i := range 300 {
		b.newPeer(t).send(request(opWRQ, fmt.Sprint("n", i), "octet"))
	}
	if err := put(t.Context(), b.newPeer(t).conn, b.addr, "honest", pattern(5000)); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	if n := n.Load(); n > maxHalfOpenPuts {
		t.Errorf("%d files are open", n)
	}
}

// unreachable is an ICMP message that a packet of the server's met a closed port.
func unreachable(server netip.AddrPort) []byte {
	p := make([]byte, 8+20+8)
	p[0], p[1] = 3, 3
	ip := p[8:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], 28)
	ip[8], ip[9] = 64, unix.IPPROTO_UDP
	from := server.Addr().As4()
	copy(ip[12:], from[:])
	copy(ip[16:], []byte{127, 0, 0, 9})
	binary.BigEndian.PutUint16(ip[20:], server.Port())
	binary.BigEndian.PutUint16(ip[22:], 9)
	binary.BigEndian.PutUint16(ip[24:], 8)
	sum := uint32(0)
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[2:], ^uint16(sum))
	return p
}

// ICMP that comes while the socket's queue is full leaves nothing in its error
// queue; the server reads on all the same.
func TestUnreachableInFlood(t *testing.T) {
	nettest.NeedRoot(t)
	file := pattern(300)
	b := serve(t, map[string][]byte{"f": file}, nil)
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		p := unreachable(b.addr)
		for {
			select {
			case <-stop:
				return
			case <-time.After(4 * time.Millisecond):
				unix.Sendto(raw, p, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	done := make(chan struct{})
	for range 2 {
		go func() {
			defer func() { done <- struct{}{} }()
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.addr))
			if err != nil {
				return
			}
			defer conn.Close()
			for start := time.Now(); time.Since(start) < 700*time.Millisecond; {
				conn.Write([]byte{0, opERROR, 0, 0, 0})
			}
		}()
	}
	<-done
	<-done
	w := b.newPeer(t)
	for start := time.Now(); time.Since(start) < hangGuard; { // the first may have met a queue that is still full
		w.peer = b.addr
		w.send(rrq("f"))
		if p := w.recv(time.Second); bytes.Equal(p, data(1, file)) {
			return
		}
	}
	t.Error("no answer after a flood that is over")
}
