package tftp

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// FuzzServer gives the server's packet handler packets of one client, in any
// order: each is a length byte and as many bytes. Whatever they are, the server
// neither crashes nor sends much to a client that never acknowledged, and
// serves the next one.
func FuzzServer(f *testing.F) {
	join := func(packets ...[]byte) (all []byte) {
		for _, p := range packets {
			all = append(append(all, byte(len(p))), p...)
		}
		return all
	}
	f.Add(join(rrq("f"), ack(1), ack(2)))
	f.Add(join(rrq("f", "blksize", "8", "windowsize", "4", "tsize", "0"), ack(0), ack(3), ack(3), ack(7)))
	f.Add(join(rrq("f", "tsize", "0"), errp(&Error{CodeOptions, "probe"})))
	f.Add(join(request(opWRQ, "f", "octet", "tsize", "3"), data(1, []byte("abc")), data(1, []byte("abc"))))
	f.Add(join(request(opWRQ, "f", "netascii"), data(1, bytes.Repeat([]byte("\r\n"), 100)), data(2, nil)))
	f.Add(join(rrq("f"), rrq("f"), rrq("g"), request(opWRQ, "f", "octet"), errp(errCancelled)))
	f.Add(join([]byte{0, 9}, []byte{0}, nil, ack(1), data(1, nil), errp(errIllegal)))
	f.Fuzz(func(t *testing.T, script []byte) {
		conn, client := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
		s := &Server{
			SinglePort: true, Log: slog.New(slog.DiscardHandler),
			Timing: Timing{Initial: time.Millisecond, Min: time.Millisecond, Max: time.Millisecond, Retries: 2, First: 3, Dally: time.Millisecond},
			Open: func(context.Context, *Request) (*Source, error) {
				return &Source{ReaderAt: bytes.NewReader(make([]byte, 1000)), Size: 1000}, nil
			},
			Create: func(context.Context, *Request) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil },
		}
		e, err := newEngine(context.Background(), s, conn)
		if err != nil {
			t.Fatal(err)
		}
		from := client.LocalAddr().(*net.UDPAddr).AddrPort()
		handled, acks := 0, 0
		for len(script) > 0 {
			n := min(int(script[0]), len(script)-1)
			p := script[1 : 1+n]
			script = script[1+n:]
			if opcode(p) == opACK || opcode(p) == opDATA {
				acks++
			}
			handled++
			e.mu.Lock()
			e.now = time.Now()
			e.handle(e.ask, p, from, nil)
			e.unlock()
		}
		time.Sleep(time.Millisecond)
		e.stop()
		e.shut()
		e.jobs.Wait()
		if len(e.active) != 0 || len(e.clients) != 0 || e.halfOpen.n != 0 || len(e.clock.due) != 0 {
			t.Errorf("%d transfers, %d clients are left", len(e.active), len(e.clients))
		}
		e.close()
		// What the client was sent: five packets a request, at most, with the
		// ERROR that ends it.
		got := 0
		buf := make([]byte, 1<<16)
		for client.SetReadDeadline(time.Now().Add(time.Millisecond)); ; got++ {
			if _, err := client.Read(buf); err != nil {
				break
			}
		}
		if acks == 0 && got > 5*handled {
			t.Errorf("%d packets for %d, none of them an ACK", got, handled)
		}
	})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// FuzzClient answers a request with packets in any order. Whatever they are,
// the client ends, has written what it says, and takes no truncated file for
// whole.
func FuzzClient(f *testing.F) {
	join := func(packets ...[]byte) (all []byte) {
		for _, p := range packets {
			all = append(append(all, byte(len(p))), p...)
		}
		return all
	}
	f.Add(join(data(1, []byte("x"))))
	f.Add(join(appendOACK(nil, Options{TSize: true, Size: 10, Blksize: 8, Windowsize: 2}), data(1, make([]byte, 8)), data(2, make([]byte, 2))))
	f.Add(join(appendOACK(nil, Options{TSize: true, Size: 100, Blksize: 8}), data(1, make([]byte, 8)), data(3, nil), data(2, nil)))
	f.Add(join(errp(&Error{CodeOptions, "no"}), data(1, nil)))
	f.Add(join(data(2, nil), data(0, nil), []byte{0, 6}, []byte{0, 3}, nil, ack(1)))
	f.Fuzz(func(t *testing.T, script []byte) {
		server := listen(t, "127.0.0.1:0")
		go func() {
			buf := make([]byte, 1024)
			_, from, err := server.ReadFromUDPAddrPort(buf)
			for err == nil && len(script) > 0 {
				n := min(int(script[0]), len(script)-1)
				_, err = server.WriteToUDPAddrPort(script[1:1+n], from)
				script = script[1+n:]
			}
		}()
		var got bytes.Buffer
		c := &Client{Timing: Timing{Initial: 2 * time.Millisecond, Min: time.Millisecond, Max: 2 * time.Millisecond, First: 2, Retries: 2, Dally: time.Millisecond}}
		tr, err := c.Get(context.Background(), server.LocalAddr().(*net.UDPAddr).AddrPort(), "f", &got)
		if tr.Bytes != int64(got.Len()) {
			t.Errorf("%d bytes were written, %d reported", got.Len(), tr.Bytes)
		}
		if err == nil && tr.Size >= 0 && tr.Size != tr.Bytes {
			t.Errorf("%d of %d bytes are a success", tr.Bytes, tr.Size)
		}
		server.Close()
	})
}
