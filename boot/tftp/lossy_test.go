package tftp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// A lossy is a link between one server and its clients that drops, doubles and
// reorders packets. To a client it is a server that answers from one port.
type lossy struct {
	addr             netip.AddrPort
	drop, dup, delay float64 // shares of the packets, each way

	conn   *net.UDPConn
	server netip.AddrPort

	mu      sync.Mutex
	rand    *rand.Rand
	clients map[netip.AddrPort]*crossing
	packets int // to clients
	dead    bool
}

// A crossing is one client's way to the server, and the end it talks to there.
type crossing struct {
	conn *net.UDPConn
	tid  netip.AddrPort
}

func newLossy(t testing.TB, server netip.AddrPort, drop, dup, delay float64) *lossy {
	t.Helper()
	l := &lossy{drop: drop, dup: dup, delay: delay, conn: listen(t, "127.0.0.1:0"), server: server,
		rand: rand.New(rand.NewPCG(1, 2)), clients: map[netip.AddrPort]*crossing{}}
	l.addr = l.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := l.conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			c := l.crossing(t, from)
			to := c.tid
			if op := opcode(buf[:n]); op == opRRQ || op == opWRQ || !to.IsValid() {
				to = l.server
			}
			l.carry(c.conn, bytes.Clone(buf[:n]), to)
		}
	}()
	return l
}

func (l *lossy) crossing(t testing.TB, from netip.AddrPort) *crossing {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[from]; c != nil {
		return &crossing{c.conn, c.tid}
	}
	c := &crossing{conn: listen(t, "127.0.0.1:0")}
	l.clients[from] = c
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, tid, err := c.conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			l.mu.Lock()
			c.tid = tid
			l.packets++
			l.mu.Unlock()
			l.carry(l.conn, bytes.Clone(buf[:n]), from)
		}
	}()
	return &crossing{conn: c.conn}
}

func (l *lossy) carry(conn *net.UDPConn, p []byte, to netip.AddrPort) {
	l.mu.Lock()
	copies, late := 1, l.rand.Float64() < l.delay
	if l.rand.Float64() < l.dup {
		copies++
	}
	if l.rand.Float64() < l.drop || l.dead {
		copies = 0
	}
	l.mu.Unlock()
	for range copies {
		if late {
			time.AfterFunc(3*time.Millisecond, func() { conn.WriteToUDPAddrPort(p, to) })
			continue
		}
		conn.WriteToUDPAddrPort(p, to)
	}
}

// Through loss, doubled and reordered packets a file comes whole, soon, and
// without a storm of resends.
func TestLossyLink(t *testing.T) {
	t.Parallel()
	file := pattern(600_000) // 421 blocks of 1428
	for _, single := range []bool{false, true} {
		b := serve(t, map[string][]byte{"f": file}, func(s *Server) { s.SinglePort = single })
		for _, tt := range []struct {
			name             string
			window           int
			drop, dup, delay float64
			most             int // packets to the client
		}{
			{"lockstep, loss", 1, .02, 0, 0, 600},
			{"lockstep, all doubled", 1, 0, 1, 0, 600},
			{"lockstep, reordered", 1, 0, 0, .2, 700},
			{"window 4, all doubled", 4, 0, 1, 0, 900},
			{"window 16, loss", 16, .01, 0, 0, 1500},
			{"window 64, loss", 64, .01, 0, 0, 2500},
			{"window 64, all doubled", 64, 0, 1, 0, 900},
			{"window 16, everything", 16, .02, .05, .02, 2500},
		} {
			t.Run(fmt.Sprintf("%s, single=%v", tt.name, single), func(t *testing.T) {
				t.Parallel()
				l := newLossy(t, b.addr, tt.drop, tt.dup, tt.delay)
				var got bytes.Buffer
				tr, err := (&Client{Windowsize: tt.window}).Get(t.Context(), l.addr, "f", &got)
				if err != nil || !bytes.Equal(got.Bytes(), file) {
					t.Fatalf("%+v, %v", tr, err)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				t.Logf("%v, %d packets", tr.Took.Round(time.Millisecond), l.packets)
				if l.packets > tt.most {
					t.Errorf("%d packets came for 421 blocks, at most %d should", l.packets, tt.most)
				}
				if tr.Took > 20*time.Second {
					t.Errorf("took %v", tr.Took)
				}
			})
		}
	}
}

// Where hardly a window comes whole a timeout does not count for the rest of
// the transfer.
func TestHeavyLoss(t *testing.T) {
	t.Parallel()
	file := pattern(3_000_000)
	b := serve(t, map[string][]byte{"f": file}, func(s *Server) {})
	for _, drop := range []float64{.05, .1} {
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			t.Parallel()
			l := newLossy(t, b.addr, drop, 0, 0)
			var got bytes.Buffer
			tr, err := new(Client).Get(t.Context(), l.addr, "f", &got)
			if err != nil || !bytes.Equal(got.Bytes(), file) {
				t.Fatalf("%+v, %v", tr, err)
			}
			if tr.Took > 20*time.Second {
				t.Errorf("took %v", tr.Took)
			}
		})
	}
}
