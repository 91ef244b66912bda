package tftp

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A device receives in windows as small network hardware does. Its ring takes
// few packets, and what comes while it is full is lost. Each packet takes it a
// while. It waits for the server to retransmit.
type device struct {
	ring  int           // packets
	grows int           // bytes after which it has room for all
	takes time.Duration // a packet

	room     atomic.Int64 // packets that the ring takes now
	gaps     int          // that it saw
	timeouts int          // windows that came again unasked
}

const (
	deviceBlksize = 1428
	deviceWindow  = 64
)

// network is a link of 1 Gbit/s to the device, behind which its ring is.
func (d *device) network() *udp.Network {
	const (
		wireTime = 12 * time.Microsecond  // of a block
		ackTime  = 100 * time.Microsecond // until the server has read an ACK
	)
	d.room.Store(int64(d.ring))
	var arrived time.Time // the last packet
	var taken []time.Time // when the device will have taken what is in the ring
	return &udp.Network{Path: func(_, to netip.AddrPort, _ []byte) []time.Duration {
		now := time.Now()
		if to.Addr() != memoryClient {
			return []time.Duration{ackTime}
		}
		if arrived.Before(now) {
			arrived = now
		}
		arrived = arrived.Add(wireTime)
		taken = slices.DeleteFunc(taken, func(at time.Time) bool { return !at.After(arrived) })
		if int64(len(taken)) >= d.room.Load() {
			return nil
		}
		from := arrived
		if len(taken) > 0 {
			from = taken[len(taken)-1]
		}
		taken = append(taken, from.Add(d.takes))
		return []time.Duration{from.Add(d.takes).Sub(now)}
	}}
}

// get fetches a file, and calls end before the last ACK.
func (d *device) get(t testing.TB, b *testServer, name string, end func()) []byte {
	t.Helper()
	w := b.newPeer(t)
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
			d.room.Store(2 * deviceWindow)
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
		inBubble(t, fmt.Sprint(ring), func(t *testing.T) {
			d := &device{ring: ring, takes: 20 * time.Microsecond}
			b := serveNetwork(t, d.network(), map[string][]byte{"f": file}, nil)
			start := time.Now()
			if got := d.get(t, b, "f", nil); !bytes.Equal(got, file) {
				t.Fatal("the bytes differ")
			}
			t.Logf("%v, %d timeouts, %d gaps, %d packets again", time.Since(start).Round(time.Millisecond), d.timeouts, d.gaps, b.result(t, 0).Resent)
			if windows := len(file) / (ring * deviceBlksize); d.timeouts > windows/4 {
				t.Errorf("%d timeouts for %d rings", d.timeouts, windows)
			}
		})
	}
}

// Once there is room for a whole window it leaves at once again.
func TestBurstsGrowBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := pattern(6 << 20)
		d := &device{ring: 16, grows: 1 << 20, takes: 20 * time.Microsecond}
		b := serveNetwork(t, d.network(), map[string][]byte{"f": file}, nil)
		least := deviceWindow
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					b.locked(func(e *engine) {
						for _, t := range e.active {
							least = min(least, t.pace.burst)
						}
					})
				}
			}
		}()
		got := d.get(t, b, "f", func() {
			close(stop)
			b.locked(func(e *engine) {
				for _, tr := range e.active {
					if least > deviceWindow/4 || tr.pace.burst != deviceWindow {
						t.Errorf("bursts shrank to %d, and grew back to %d", least, tr.pace.burst)
					}
				}
			})
		})
		if !bytes.Equal(got, file) {
			t.Error("the bytes differ")
		}
	})
}
