//go:build !linux

package tftp

import "time"

// An inbox reads the socket that the request left from, one datagram a call.
type inbox struct {
	*door
	buf   []byte
	n     int
	wait  time.Duration
	woken chan struct{}
}

func newInbox(d *door, size int) (*inbox, error) {
	return &inbox{door: d, buf: make([]byte, size), woken: make(chan struct{})}, nil
}

func (b *inbox) widen(n, size int) { b.conn.SetReadBuffer(min(max(n*size, inboxLen), queueMost)) }

func (b *inbox) patience(d time.Duration) { b.wait = d }

func (b *inbox) read() (int, error) {
	b.conn.SetReadDeadline(time.Now().Add(b.wait))
	// After the deadline was set: that of wake may have been overwritten.
	select {
	case <-b.woken:
		return 0, nil
	default:
	}
	n, from, err := b.conn.ReadFromUDPAddrPort(b.buf)
	if err != nil {
		return 0, err
	}
	if from = unmap(from); !samePeer(from, b.peer) {
		turnAway(b.conn, b.buf[:n], from)
		return 0, nil
	}
	b.n = n
	return 1, nil
}

func (b *inbox) wake() {
	close(b.woken)
	b.conn.SetReadDeadline(time.Unix(1, 0))
}

func (b *inbox) datagram(int) ([]byte, int) { return b.buf[:b.n], b.n }
func (b *inbox) send(p []byte)              { b.conn.WriteToUDPAddrPort(p, b.peer) }
func (b *inbox) close()                     { go b.keep() }
