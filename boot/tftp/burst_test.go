package tftp

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// A device receives in windows as small network hardware does: its ring takes
// few packets, what comes while it is full is lost, and each packet takes it a
// while. It waits for the server to send again.
type device struct {
	ring  int           // packets
	grows int           // bytes after which it has room for all
	takes time.Duration // a packet

	gaps     int // that it saw
	timeouts int // windows that came again unasked
}

const (
	deviceBlksize = 1428
	deviceWindow  = 64
)

// get fetches a file, and calls end before the last ACK.
func (d *device) get(t testing.TB, b *bench, name string, end func()) []byte {
	t.Helper()
	w := newWire(t, b.addr)
	// A packet of that size counts for 2304 bytes, and the kernel doubles what
	// it is told (socket(7)).
	if err := w.conn.SetReadBuffer(d.ring * 2304 / 2); err != nil {
		t.Fatal(err)
	}
	w.send(rrq(name, "blksize", fmt.Sprint(deviceBlksize), "windowsize", fmt.Sprint(deviceWindow)))
	var got bytes.Buffer
	buf := make([]byte, 2048)
	last, count, before := 0, 0, 0
	gap, asked := false, false
	start := time.Now()
	for {
		w.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, from, err := w.conn.ReadFromUDPAddrPort(buf)
		if err != nil || time.Since(start) > 30*time.Second {
			t.Fatalf("block %d came, and that after %v: %v", last, time.Since(start), err)
		}
		for until := time.Now().Add(d.takes); time.Now().Before(until); {
		}
		w.peer = from
		p := buf[:n]
		if opcode(p) == opOACK {
			w.send(ack(0))
			continue
		}
		block, data, ok := parseBlock(p)
		if !ok || opcode(p) != opDATA {
			t.Fatalf("got %s", short(p))
		}
		if int(block) < before { // sent again
			if !asked {
				d.timeouts++
			}
			asked = false
		}
		before = int(block)
		if before != last+1 {
			if before > last+1 && !gap {
				w.send(ack(last))
				d.gaps++
				gap, asked, count = true, true, 0
			}
			continue
		}
		got.Write(data)
		gap = false
		last++
		if d.grows > 0 && got.Len() > d.grows {
			if err := w.conn.SetReadBuffer(2 * deviceWindow * 2304); err != nil {
				t.Fatal(err)
			}
			d.grows = 0
		}
		final := len(data) < deviceBlksize
		if final && end != nil {
			end()
		}
		if count++; count == deviceWindow || final {
			w.send(ack(last))
			count = 0
		}
		if final {
			return got.Bytes()
		}
	}
}

// A window that a device's ring does not take leaves in bursts that it does
// take. Without them no window would come whole, each would cost a timeout, and
// what a timeout sends again would overrun the ring as well.
func TestSmallRing(t *testing.T) {
	file := pattern(2 << 20)
	for _, ring := range []int{32, 16} {
		b := serve(t, map[string][]byte{"f": file}, nil)
		d := &device{ring: ring, takes: 20 * time.Microsecond}
		start := time.Now()
		if got := d.get(t, b, "f", nil); !bytes.Equal(got, file) {
			t.Fatal("the bytes differ")
		}
		t.Logf("ring of %d: %v, %d timeouts, %d gaps, %d packets again", ring, time.Since(start).Round(time.Millisecond), d.timeouts, d.gaps, b.result(t, 0).Resent)
		if windows := len(file) / (ring * deviceBlksize); d.timeouts > windows/4 {
			t.Errorf("ring of %d: %d timeouts for %d rings", ring, d.timeouts, windows)
		}
	}
}

// Once there is room for a whole window it leaves at once again.
func TestBurstsGrowBack(t *testing.T) {
	file := pattern(6 << 20)
	b := serveEngine(t, map[string][]byte{"f": file}, nil)
	d := &device{ring: 16, grows: 1 << 20}
	least := deviceWindow
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				b.look(func(e *engine) {
					for _, t := range e.active {
						least = min(least, t.burst)
					}
				})
			}
		}
	}()
	got := d.get(t, b, "f", func() {
		close(stop)
		b.look(func(e *engine) {
			for _, tr := range e.active {
				if least > deviceWindow/4 || tr.burst != deviceWindow {
					t.Errorf("bursts shrank to %d, and grew back to %d", least, tr.burst)
				}
			}
		})
	})
	if !bytes.Equal(got, file) {
		t.Error("the bytes differ")
	}
}
