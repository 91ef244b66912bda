package tftp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
)

// A lossyLink drops, doubles and reorders packets of a Network, both ways.
type lossyLink struct {
	drop, dup, delay float64 // shares of the packets

	mu      sync.Mutex
	rand    *rand.Rand
	packets int // to clients
}

// network is one that has the link between all ports.
func (l *lossyLink) network() *udp.Network {
	l.rand = rand.New(rand.NewPCG(1, 2))
	return &udp.Network{Path: l.path}
}

func (l *lossyLink) path(_, to netip.AddrPort, _ []byte) (copies []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.Addr() != memoryServer.Addr() {
		l.packets++
	}
	after, n := 50*time.Microsecond, 1
	if l.rand.Float64() < l.delay {
		after = 3 * time.Millisecond
	}
	if l.rand.Float64() < l.dup {
		n++
	}
	if l.rand.Float64() < l.drop {
		n = 0
	}
	for range n {
		copies = append(copies, after)
	}
	return copies
}

// Through loss, doubled and reordered packets a file comes whole, soon, and
// without a storm of resends.
func TestLossyLink(t *testing.T) {
	file := pattern(600_000) // 421 blocks of 1428
	for _, single := range []bool{false, true} {
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
			inBubble(t, fmt.Sprintf("%s, single=%v", tt.name, single), func(t *testing.T) {
				l := &lossyLink{drop: tt.drop, dup: tt.dup, delay: tt.delay}
				b := serveNetwork(t, l.network(), map[string][]byte{"f": file}, func(s *Server) { s.SinglePort = single })
				var got bytes.Buffer
				tr, err := b.client(Client{Windowsize: tt.window}).Get(t.Context(), b.addr, "f", &got)
				if err != nil || !bytes.Equal(got.Bytes(), file) {
					t.Fatalf("%+v, %v", tr, err)
				}
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
	file := pattern(3_000_000)
	for _, drop := range []float64{.05, .1} {
		inBubble(t, fmt.Sprint(drop), func(t *testing.T) {
			l := &lossyLink{drop: drop}
			b := serveNetwork(t, l.network(), map[string][]byte{"f": file}, nil)
			var got bytes.Buffer
			tr, err := b.client(Client{}).Get(t.Context(), b.addr, "f", &got)
			if err != nil || !bytes.Equal(got.Bytes(), file) {
				t.Fatalf("%+v, %v", tr, err)
			}
			t.Log(tr.Took)
			if tr.Took > 20*time.Second {
				t.Errorf("took %v", tr.Took)
			}
		})
	}
}

// A link that is down for a second costs little more than that second, in
// lockstep and in windows.
func TestLinkDown(t *testing.T) {
	file := pattern(2_000_000)
	for _, window := range []int{1, 64} {
		inBubble(t, fmt.Sprint(window), func(t *testing.T) {
			start := time.Now()
			n := &udp.Network{Path: func(_, _ netip.AddrPort, _ []byte) []time.Duration {
				if up := time.Since(start); up > 2*time.Millisecond && up < time.Second {
					return nil
				}
				return []time.Duration{50 * time.Microsecond}
			}}
			b := serveNetwork(t, n, map[string][]byte{"f": file}, nil)
			var got bytes.Buffer
			stats, err := b.client(Client{Windowsize: window}).Get(t.Context(), b.addr, "f", &got)
			if err != nil || !bytes.Equal(got.Bytes(), file) {
				t.Fatalf("%+v, %v", stats, err)
			}
			if stats.Took < time.Second || stats.Took > 2*time.Second {
				t.Errorf("took %v", stats.Took)
			}
		})
	}
}
