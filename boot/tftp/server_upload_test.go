package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// storeUploads is an Uploader that writes to what it creates.
type storeUploads func(ctx context.Context, r *Request) (io.WriteCloser, error)

func (create storeUploads) Receive(ctx context.Context, u *Upload) (stored int64, err error) {
	w, err := create(ctx, u.Request)
	if err != nil {
		return 0, err
	}
	for block := uint16(0); ; {
		u.Acknowledge(block)
		var data []byte
		block, data, err = u.Next()
		if err == nil {
			_, err = w.Write(data)
			stored += int64(len(data))
		}
		if last := len(data) < u.Blksize; err != nil || last {
			err = errors.Join(err, w.Close())
			if err == nil {
				u.Acknowledge(block)
			}
			return stored, err
		}
	}
}

// A drop takes uploads in memory, new names only.
type drop struct {
	mu    sync.Mutex
	files map[string]*dropped
}

type dropped struct {
	*drop
	bytes.Buffer
	closed bool
}

func (d *drop) create(_ context.Context, r *Request) (io.WriteCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[r.Name] != nil {
		return nil, fs.ErrExist
	}
	f := &dropped{drop: d}
	if d.files == nil {
		d.files = map[string]*dropped{}
	}
	d.files[r.Name] = f
	return f, nil
}

func (d *drop) get(name string) (data []byte, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, false
	}
	return bytes.Clone(f.Bytes()), f.closed
}

func (f *dropped) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Buffer.Write(p)
}

func (f *dropped) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// put sends a file in lockstep, as a plain client does.
func put(ctx context.Context, conn udp.PacketConn, server netip.AddrPort, name string, file []byte) error {
	packet, peer, buf := request(opWRQ, name, "octet"), server, make([]byte, 1024)
	for n := 0; ; n++ {
		for resends := 0; ; resends++ {
			if resends == 10 || ctx.Err() != nil {
				return fmt.Errorf("no ACK of block %d", n)
			}
			conn.WriteToUDPAddrPort(packet, peer)
			conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			k, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				continue
			}
			if opcode(buf[:k]) == opERROR {
				return parseError(buf[:k])
			}
			if bytes.Equal(buf[:k], ack(n)) {
				peer = from
				break
			}
		}
		if len(packet) < headerLen+defaultBlksize && n > 0 {
			return nil
		}
		k := min(len(file), defaultBlksize)
		packet, file = data(n+1, file[:k]), file[k:]
	}
}

// The protocol of an upload, packet by packet: options in any case, the last
// ACK repeated, strangers and malformed packets kept away.
func TestUploadPackets(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serveMemory(t, nil, func(s *Server) {
			change(s)
			s.Timing.Initial = 5 * time.Second
			s.Uploads = storeUploads(d.create)
		})
		w := b.newPeer(t)
		wrq := request(opWRQ, "f", "Octet", "TSIZE", "700", "BLKSIZE", "600", "windowsize", "4")
		w.send(wrq)
		w.want(append([]byte{0, 6}, "tsize\x00700\x00blksize\x00600\x00"...))
		stranger := b.newPeerOf(t, w.peer)
		stranger.send(data(1, []byte("evil")))
		stranger.want(errp(errUnknownID))
		file := pattern(700)
		for _, p := range [][]byte{
			data(1, pattern(601)), data(1, pattern(60000)), // larger than was agreed on
			{0, 3, 0}, {0, 9}, append([]byte{0, 6}, "blksize\x0065464\x00"...), ack(1),
		} {
			w.send(p)
		}
		if b.SinglePort {
			w.send(wrq)
		}
		w.silent(4 * time.Second)
		w.send(data(1, file[:600]))
		w.want(ack(1))
		w.send(data(1, file[:600])) // a duplicate
		w.send(data(2, file[600:]))
		w.want(ack(2))
		w.send(data(2, file[600:])) // the last ACK was lost
		w.want(ack(2))
		if got, closed := d.get("f"); !closed || !bytes.Equal(got, file) {
			t.Errorf("%d bytes, closed %v", len(got), closed)
		}
		if r := b.result(t, 0); r.Err != nil || r.Bytes != 700 || r.Granted.Blksize != 600 {
			t.Errorf("result %+v", r)
		}
	})
}

// Who sends nothing gets four answers, at 1, 3 and 7 times the first timeout.
// Who falls silent, or repeats itself for ever, is given up.
func TestUploadSilence(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serveMemory(t, nil, func(s *Server) {
			change(s)
			s.Timing = Timing{}
			s.Uploads = storeUploads(d.create)
		})
		w := b.newPeer(t)
		start := time.Now()
		w.send(request(opWRQ, "f", "octet"))
		for _, want := range []time.Duration{0, 1, 3, 7} {
			w.want(ack(0))
			if got := time.Since(start); got != want*time.Second {
				t.Errorf("an answer after %v, want %d s", got, want)
			}
		}
		if r := b.result(t, 0); !errors.Is(r.Err, errSilent) || r.Took != 15*time.Second || r.Resent != 3 {
			t.Errorf("result %+v", r)
		}
		w.silent(time.Minute)

		w = b.newPeer(t)
		w.send(request(opWRQ, "g", "octet"))
		w.want(ack(0))
		w.send(data(1, pattern(512)))
		w.want(ack(1))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for ctx.Err() == nil {
				w.conn.WriteToUDPAddrPort(data(1, pattern(512)), w.peer)
				time.Sleep(time.Second)
			}
		}()
		// 44.75 s of retransmissions, as Timing has it, less what it repeats.
		if r := b.result(t, 1); !errors.Is(r.Err, errSilent) || r.Took > time.Minute {
			t.Errorf("result %+v", r)
		}
		cancel()
	})
}

// A client that goes on after a while is given up after 44.75 s of silence, not
// before.
func TestUploadFallsSilent(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		b := serveMemory(t, nil, func(s *Server) {
			change(s)
			s.Timing = Timing{}
			s.Uploads = storeUploads((&drop{}).create)
		})
		w := b.newPeer(t)
		w.send(request(opWRQ, "g", "octet"))
		w.want(ack(0))
		w.send(data(1, pattern(512)))
		w.want(ack(1))
		start := time.Now()
		if r := b.result(t, 0); !errors.Is(r.Err, errSilent) || r.Resent != 11 {
			t.Errorf("result %+v", r)
		}
		if took := time.Since(start); took < 44750*time.Millisecond || took > 44800*time.Millisecond {
			t.Errorf("given up after %v", took)
		}
	})
}

func TestUploadStop(t *testing.T) {
	bothInBubble(t, func(t *testing.T, change func(*Server)) {
		d := &drop{}
		b := serveMemory(t, nil, func(s *Server) { change(s); s.Timing = noTimeouts; s.Uploads = storeUploads(d.create) })
		w := b.newPeer(t)
		w.send(request(opWRQ, "f", "octet"))
		w.want(ack(0))
		b.stop()
		w.want(errp(errStopping))
		if r := b.result(t, 0); !errors.Is(r.Err, context.Canceled) {
			t.Errorf("result %+v", r)
		}
	})
}
