package lease

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

var (
	at6  = netip.MustParseAddr("fd00:77::1")
	lab6 = Subnet{
		Prefix:   netip.MustParsePrefix("fd00:77::/64"),
		PoolFrom: netip.MustParseAddr("fd00:77::100"), PoolTo: netip.MustParseAddr("fd00:77::103"),
		DNS: []netip.Addr{netip.MustParseAddr("fd00:77::1")}, Lease: time.Hour,
	}
)

func client6(n int) Client6 {
	return Client6{DUID: []byte{0, 3, 0, 1, byte(n >> 8), byte(n)}, IAID: [4]byte{3: 7}, MAC: mac(n), At: at6}
}

func pool6(t *testing.T, s store.Store, subnets ...Subnet) *Leases6 {
	t.Helper()
	l, err := New6(t.Context(), s, subnets, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *Leases6) mustBind(t *testing.T, c Client6) netip.Addr {
	t.Helper()
	o, err := l.Offer(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Bind(t.Context(), c, []netip.Addr{o.Addr})
	if err != nil || b.Addr != o.Addr || !lab6.Prefix.Contains(b.Addr) {
		t.Fatalf("bind of the offered %s: %s, %v", o.Addr, b.Addr, err)
	}
	return b.Addr
}

// A pool of four: what is given is given to one client, as long as the lease
// lasts, and after a release to the next.
func TestPool6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool6(t, s, lab6)
		var addrs []netip.Addr
		for n := range 4 {
			if _, err := l.Offer(client6(n), nil); err != nil || written(t, s) != n {
				t.Fatalf("an offer is written, or %v", err)
			}
			addr := l.mustBind(t, client6(n))
			if slices.Contains(addrs, addr) {
				t.Fatalf("%s is given twice", addr)
			}
			addrs = append(addrs, addr)
		}
		if _, err := l.Offer(client6(9), nil); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "fd00:77::100-fd00:77::103") {
			t.Errorf("a fifth is offered one: %v", err)
		}
		if _, err := l.Bind(t.Context(), client6(9), addrs); !errors.Is(err, ErrExhausted) {
			t.Errorf("a fifth is given one: %v", err)
		}
		if err := l.Release(t.Context(), client6(9), addrs[0]); !errors.Is(err, ErrWrong) {
			t.Errorf("another's release: %v", err)
		}
		if err := l.Decline(t.Context(), client6(9), addrs[0]); !errors.Is(err, ErrWrong) {
			t.Errorf("another's decline: %v", err)
		}
		if err := l.Release(t.Context(), client6(0), addrs[0]); err != nil {
			t.Error(err)
		}
		if err := l.Decline(t.Context(), client6(1), addrs[1]); err != nil {
			t.Error(err)
		}
		if got := l.mustBind(t, client6(9)); got != addrs[0] {
			t.Errorf("got %s, only %s is free", got, addrs[0])
		}
		if _, err := l.Bind(t.Context(), client6(1), addrs[1:2]); !errors.Is(err, ErrExhausted) {
			t.Errorf("an address that was declined is given: %v", err)
		}
		time.Sleep(DefaultTiming.Quarantine)
		if got := l.mustBind(t, client6(1)); got != addrs[1] {
			t.Errorf("got %s after the quarantine", got)
		}
		time.Sleep(lab6.Lease + lab6.Lease/grace)
		for n := range 4 { // all have ended
			l.mustBind(t, client6(20+n))
		}
		if n := written(t, s); n != 4 {
			t.Errorf("%d leases are in the store", n)
		}
	})
}

// One client has one address for each IAID, and a machine tends to get the same.
func TestClient6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pool6(t, memory(t), lab6)
		c := client6(1)
		first := l.mustBind(t, c)
		if got := l.mustBind(t, c); got != first {
			t.Errorf("asked again it gets %s, had %s", got, first)
		}
		other := c
		other.IAID[0] = 1
		if got := l.mustBind(t, other); got == first {
			t.Error("two IA_NAs have one address")
		}
		if err := l.Release(t.Context(), c, first); err != nil {
			t.Fatal(err)
		}
		if got := l.mustBind(t, c); got != first {
			t.Errorf("after a release it gets %s, had %s", got, first)
		}
		list := l.List()
		if len(list) != 2 || list[0].MAC != c.MAC || string(list[0].ID) != string(c.DUID) || list[0].Subnet.Prefix != lab6.Prefix {
			t.Errorf("listed %+v", list)
		}
		c.At = netip.MustParseAddr("fd00:78::1")
		if _, err := l.Offer(c, nil); !errors.Is(err, ErrNoSubnet) {
			t.Errorf("on a link without a subnet: %v", err)
		}
	})
}

func TestRenew6(t *testing.T) {
	for _, row := range []struct {
		name string
		addr string // "": another client's
		kept bool
	}{
		{"one that nobody has", "fd00:77::100", true},
		{"another client's", "", false},
		{"ours", "fd00:77::1", false},
		{"outside the pool", "fd00:77::99", false},
		{"of another network", "fd00:78::1", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := pool6(t, memory(t), lab6)
				b, err := l.Bind(t.Context(), client6(2), []netip.Addr{netip.MustParseAddr("fd00:77::103")})
				if err != nil {
					t.Fatal(err)
				}
				addr := b.Addr
				if row.addr != "" {
					addr = netip.MustParseAddr(row.addr)
				}
				lease, gone, err := l.Renew(t.Context(), client6(1), []netip.Addr{addr})
				if err != nil || (lease.Addr == addr) != row.kept || slices.Contains(gone, addr) == row.kept {
					t.Errorf("kept %v, gone %v, %v", lease.Addr, gone, err)
				}
			})
		})
	}
}

// Of several addresses a client keeps one.
func TestRenewSeveral6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pool6(t, memory(t), lab6)
		taken, free := lab6.PoolFrom, lab6.PoolTo
		if _, err := l.Bind(t.Context(), client6(2), []netip.Addr{taken}); err != nil {
			t.Fatal(err)
		}
		lease, gone, err := l.Renew(t.Context(), client6(1), []netip.Addr{taken, free, free.Prev()})
		if err != nil || lease.Addr != free || len(gone) != 2 {
			t.Errorf("of three it keeps %s, gone %v, %v", lease.Addr, gone, err)
		}
		if lease, gone, err := l.Renew(t.Context(), client6(1), nil); err != nil || lease.Addr.IsValid() || gone != nil {
			t.Errorf("renewed nothing: %v, %v, %v", lease, gone, err)
		}
	})
}

// Leases and quarantine outlive a restart.
func TestRestart6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool6(t, s, lab6)
		addr, declined := l.mustBind(t, client6(1)), l.mustBind(t, client6(2))
		if err := l.Decline(t.Context(), client6(2), declined); err != nil {
			t.Fatal(err)
		}
		before := l.List()

		l = pool6(t, s, lab6)
		if after := l.List(); len(after) != 1 || len(before) != 1 || after[0].Addr != addr || !after[0].Expires.Equal(before[0].Expires) {
			t.Errorf("after a restart %v, before %v", after, before)
		}
		for n := range 2 {
			if got := l.mustBind(t, client6(10+n)); got == addr || got == declined {
				t.Errorf("%s is given to another", got)
			}
		}
		if lease, _, err := l.Renew(t.Context(), client6(1), []netip.Addr{addr}); err != nil || lease.Addr != addr {
			t.Errorf("renewed as %v, %v", lease.Addr, err)
		}
	})
}

func TestConfigErrors6(t *testing.T) {
	with := func(f func(*Subnet)) Subnet { n := lab6; f(&n); return n }
	addr := netip.MustParseAddr
	for want, n := range map[string]Subnet{
		"not an IPv6 network":          lab,
		"is not inside it":             with(func(n *Subnet) { n.PoolTo = addr("fd00:78::1") }),
		"want at most 65536":           with(func(n *Subnet) { n.PoolTo = addr("fd00:77::1:101") }),
		"is not an IPv6 address":       with(func(n *Subnet) { n.DNS = []netip.Addr{at} }),
		"want at most 65536 addresses": {Prefix: netip.MustParsePrefix("fd00::/16"), PoolFrom: addr("fd00::1"), PoolTo: addr("fd00:1::1")},
		"pool of 0 addresses":          {Prefix: netip.MustParsePrefix("fd00::/64"), PoolFrom: addr("fd00::"), PoolTo: addr("fd00::ffff:ffff:ffff:ffff")},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := New6(t.Context(), memory(t), []Subnet{n}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
	// The last addresses of a network, and the whole of the largest pool.
	for _, n := range []Subnet{
		with(func(n *Subnet) {
			n.PoolFrom, n.PoolTo = addr("fd00:77::ffff:ffff:ffff:fffe"), addr("fd00:77::ffff:ffff:ffff:ffff")
		}),
		with(func(n *Subnet) { n.PoolFrom, n.PoolTo = addr("fd00:77::"), addr("fd00:77::ffff") }),
		{Prefix: lab6.Prefix},
	} {
		l := pool6(t, memory(t), n)
		o, err := l.Offer(client6(1), nil)
		if n.PoolFrom.IsValid() != (err == nil) || err == nil && (!n.pooled(o.Addr) || o.Addr == addr("fd00:77::")) {
			t.Errorf("%s-%s: offered %s, %v", n.PoolFrom, n.PoolTo, o.Addr, err)
		}
	}
}

// Two requests at once, or two appliances, are never given one address.
func TestRace6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		pools := []*Leases6{pool6(t, s, lab6), pool6(t, s, lab6)}
		type given struct {
			n    int
			addr netip.Addr
		}
		got := make(chan given, 8)
		for n := range 8 {
			go func() {
				b, err := pools[n%2].Bind(context.WithoutCancel(t.Context()), client6(n), nil)
				if err != nil && !errors.Is(err, ErrExhausted) {
					t.Error(err)
				}
				got <- given{n, b.Addr}
			}()
		}
		owner := map[netip.Addr]int{}
		for range 8 {
			g := <-got
			if other, ok := owner[g.addr]; ok && g.addr.IsValid() {
				t.Errorf("%s is given to %d and %d", g.addr, g.n, other)
			}
			owner[g.addr] = g.n
		}
		delete(owner, netip.Addr{})
		if len(owner) != 4 || len(pools[0].List()) != 4 || len(pools[1].List()) != 4 {
			t.Errorf("%d of four addresses are given", len(owner))
		}
	})
}
