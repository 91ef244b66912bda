package lease

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

var (
	at   = netip.MustParseAddr("10.0.0.1")
	none = netip.Addr{}
	lab  = Subnet{
		Prefix:   netip.MustParsePrefix("10.0.0.0/24"),
		PoolFrom: netip.MustParseAddr("10.0.0.100"), PoolTo: netip.MustParseAddr("10.0.0.109"),
		Router: netip.MustParseAddr("10.0.0.1"), Lease: time.Hour,
	}
	dut1 = Host{MAC: mac(200), Addr: netip.MustParseAddr("10.0.0.105"), Name: "dut1"}
)

func mac(n int) boot.MAC { return boot.MAC{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

func client(n int) Client { return Client{MAC: mac(n), At: at} }

// memory is a store that is closed with the test.
func memory(t *testing.T) store.Store {
	t.Helper()
	s := store.NewMemory()
	t.Cleanup(func() { s.Close() })
	return s
}

// pool opens leases over a store. Opening the same again is a restart.
func pool(t *testing.T, s store.Store, subnets []Subnet, hosts ...Host) *Leases {
	t.Helper()
	l, err := New(t.Context(), s, subnets, hosts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// written is how many entries a store has.
func written(t *testing.T, s store.Store) int {
	t.Helper()
	list, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func (l *Leases) mustBind(t *testing.T, c Client) netip.Addr {
	t.Helper()
	o, err := l.Offer(c, none)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Bind(t.Context(), c, o.Addr)
	if err != nil || b.Addr != o.Addr {
		t.Fatalf("bind of the offered %s: %s, %v", o.Addr, b.Addr, err)
	}
	return b.Addr
}

func TestOneMachineOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool(t, s, []Subnet{lab})
		var got netip.Addr
		// ROM, iPXE, agent and the flashed system send four client identifiers.
		for _, id := range []string{"\x00uuid", "\x01mac", "", "\xffduid"} {
			c := Client{MAC: mac(1), ID: []byte(id), At: at}
			addr := l.mustBind(t, c)
			if got.IsValid() && addr != got {
				t.Errorf("client %q has %s, was %s before", id, addr, got)
			}
			got = addr
		}
		if other := l.mustBind(t, client(2)); other == got {
			t.Errorf("two machines have %s", got)
		}
		list := l.List()
		if len(list) != 2 {
			t.Fatalf("leases: %v", list)
		}

		l = pool(t, s, []Subnet{lab})
		if again := l.List(); len(again) != 2 || again[0].Addr != list[0].Addr || !again[0].Expires.Equal(list[0].Expires) {
			t.Errorf("after a restart: %v, before: %v", again, list)
		}
		if addr := l.mustBind(t, client(1)); addr != got {
			t.Errorf("after a restart: %s, before: %s", addr, got)
		}
	})
}

func TestOfferWritesNothingAndKeepsOthersOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool(t, s, []Subnet{lab})
		want := netip.MustParseAddr("10.0.0.103")
		o, err := l.Offer(client(1), want)
		if err != nil || o.Addr != want || o.Subnet.Router != lab.Router {
			t.Fatalf("a free address that was asked for: %v, %v", o, err)
		}
		if o, _ := l.Offer(client(2), want); o.Addr == want {
			t.Error("an offered address was offered again")
		}
		if o, _ := l.Offer(client(1), none); o.Addr != want {
			t.Errorf("a repeated DISCOVER moved from %s to %s", want, o.Addr)
		}
		for _, bad := range []string{"10.0.0.9", "10.0.1.103", "10.0.0.255"} {
			if o, err := l.Offer(client(3), netip.MustParseAddr(bad)); err != nil || o.Addr.String() == bad {
				t.Errorf("asked for %s: offered %v, %v", bad, o.Addr, err)
			}
		}
		if n := written(t, s); n != 0 {
			t.Errorf("%d offers were written", n)
		}
	})
}

func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outside := Host{MAC: mac(201), Addr: netip.MustParseAddr("10.0.0.10")}
		l := pool(t, memory(t), []Subnet{lab}, dut1, outside)
		for i := range 9 {
			if addr := l.mustBind(t, client(i)); addr == dut1.Addr {
				t.Errorf("client %d was given a host's address", i)
			}
		}
		if _, err := l.Offer(client(9), dut1.Addr); !errors.Is(err, ErrExhausted) {
			t.Errorf("nine of ten are leased, the tenth is reserved: %v", err)
		}
		if _, err := l.Bind(t.Context(), client(9), dut1.Addr); !errors.Is(err, ErrWrong) {
			t.Errorf("bind of a host's address: %v", err)
		}
		for _, h := range []Host{dut1, outside} {
			c := Client{MAC: h.MAC, At: at}
			if addr := l.mustBind(t, c); addr != h.Addr {
				t.Errorf("host %s was given %s", h.MAC, addr)
			}
			if _, err := l.Bind(t.Context(), c, lab.PoolFrom); !errors.Is(err, ErrWrong) {
				t.Errorf("a host took another address: %v", err)
			}
		}
		if o, _ := l.Offer(Client{MAC: dut1.MAC, At: at}, none); o.Name != "dut1" {
			t.Errorf("name %q", o.Name)
		}
	})
}

func TestHostReservedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool(t, s, []Subnet{lab})
		if _, err := l.Bind(t.Context(), client(1), dut1.Addr); err != nil {
			t.Fatal(err)
		}
		old := l.mustBind(t, Client{MAC: dut1.MAC, At: at})

		l = pool(t, s, []Subnet{lab}, dut1)
		host := Client{MAC: dut1.MAC, At: at}
		if _, err := l.Offer(host, none); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), mac(1).String()) {
			t.Errorf("another still has the address: %v", err)
		}
		if _, err := l.Bind(t.Context(), client(1), dut1.Addr); !errors.Is(err, ErrWrong) {
			t.Errorf("that other renewed it: %v", err)
		}
		if err := l.Release(t.Context(), client(1), dut1.Addr); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Bind(t.Context(), host, old); !errors.Is(err, ErrWrong) {
			t.Errorf("the host renewed its old address: %v", err)
		}
		if addr := l.mustBind(t, host); addr != dut1.Addr || len(l.List()) != 1 {
			t.Errorf("the host has %s, leases %v", addr, l.List())
		}
	})
}

func TestBindRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		c    Client
		addr string // "": the first client's
	}{
		{"someone else's", client(2), ""},
		{"a second one", client(1), "10.0.0.109"},
		{"outside the pool", client(2), "10.0.0.50"},
		{"another network", client(2), "192.168.1.5"},
		{"the router", client(2), "10.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := pool(t, memory(t), []Subnet{lab}, dut1)
				addr := l.mustBind(t, client(1))
				if row.addr != "" {
					addr = netip.MustParseAddr(row.addr)
				}
				if _, err := l.Bind(t.Context(), row.c, addr); !errors.Is(err, ErrWrong) {
					t.Error(err)
				}
			})
		})
	}
}

// After the server lost its memory a client may keep what is free.
func TestBindOfUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pool(t, memory(t), []Subnet{lab}, dut1)
		free := netip.MustParseAddr("10.0.0.108")
		if l.mustBind(t, client(1)) == free {
			free = free.Next()
		}
		if b, err := l.Bind(t.Context(), client(2), free); err != nil || b.Addr != free {
			t.Errorf("a free address after a reboot: %v, %v", b.Addr, err)
		}
		elsewhere := Client{MAC: mac(3), At: netip.MustParseAddr("172.16.0.1")}
		if _, err := l.Offer(elsewhere, none); !errors.Is(err, ErrNoSubnet) {
			t.Errorf("a link without a subnet: %v", err)
		}
	})
}

func TestReleaseAndDecline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool(t, s, []Subnet{lab})
		a := l.mustBind(t, client(1))
		if err := l.Release(t.Context(), client(2), a); !errors.Is(err, ErrWrong) {
			t.Errorf("release of another's lease: %v", err)
		}
		if err := l.Decline(t.Context(), client(2), a); !errors.Is(err, ErrWrong) {
			t.Errorf("decline of another's lease: %v", err)
		}
		if err := l.Release(t.Context(), client(1), a); err != nil || len(l.List()) != 0 {
			t.Errorf("release: %v, %v", err, l.List())
		}
		if b, err := l.Bind(t.Context(), client(2), a); err != nil {
			t.Errorf("a released address: %v, %v", b, err)
		}

		if err := l.Decline(t.Context(), client(2), a); err != nil {
			t.Fatal(err)
		}
		l = pool(t, s, []Subnet{lab}) // quarantine outlives a restart
		for i := range 9 {
			if addr := l.mustBind(t, client(i)); addr == a {
				t.Error("a declined address was given out")
			}
		}
		if o, err := l.Offer(client(9), none); !errors.Is(err, ErrExhausted) {
			t.Errorf("offered %v, %v", o.Addr, err)
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pool(t, memory(t), []Subnet{lab})
		l.mustBind(t, client(0))
		for i := 1; i < 10; i++ {
			l.mustBind(t, client(i))
		}
		time.Sleep(30 * time.Minute)
		kept := l.mustBind(t, client(0)) // a renewal at T1
		if _, err := l.Offer(client(10), none); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "10.0.0.100-10.0.0.109") {
			t.Errorf("a full pool: %v", err)
		}
		time.Sleep(31*time.Minute + lab.Lease/grace)
		if list := l.List(); len(list) != 1 || list[0].Addr != kept {
			t.Errorf("an hour on: %v", list)
		}
		// The address of the one that did not renew is free for another, on disk too.
		for i := 10; i < 19; i++ {
			l.mustBind(t, client(i))
		}
		// Quarantine ends as well.
		a := l.List()[3]
		if err := l.Decline(t.Context(), Client{MAC: a.MAC, At: at}, a.Addr); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultTiming.Quarantine - time.Second)
		if _, err := l.Bind(t.Context(), client(20), a.Addr); !errors.Is(err, ErrWrong) {
			t.Errorf("in quarantine: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := l.Bind(t.Context(), client(20), a.Addr); err != nil {
			t.Errorf("after quarantine: %v", err)
		}
	})
}

// A flood of strangers who only ask neither fills the disk, nor memory, nor
// keeps a machine from its address.
func TestDiscoverFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wide := lab
		wide.Prefix = netip.MustParsePrefix("10.0.0.0/16")
		wide.PoolFrom, wide.PoolTo = netip.MustParseAddr("10.0.16.0"), netip.MustParseAddr("10.0.79.255")
		for _, n := range []Subnet{lab, wide} {
			s := memory(t)
			l := pool(t, s, []Subnet{n})
			for i := range 20000 {
				if _, err := l.Offer(client(1000+i), none); err != nil {
					t.Fatal(err)
				}
			}
			if l.offers.order.Len() > maxOffers || len(l.offers.byMAC) > maxOffers || len(l.offers.byAddr) > maxOffers || len(l.book.taken) != 0 {
				t.Errorf("memory holds %d offers and %d leases", l.offers.order.Len(), len(l.book.taken))
			}
			if n := written(t, s); n != 0 {
				t.Errorf("%d entries were written", n)
			}
			o, err := l.Offer(client(1), none)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				l.Offer(client(50000+i), none)
			}
			if _, err := l.Bind(t.Context(), client(1), o.Addr); err != nil {
				t.Errorf("in a flood, the machine's own REQUEST: %v", err)
			}
			s.Close()
		}
	})
}

func TestConfigErrors(t *testing.T) {
	s := memory(t)
	with := func(f func(*Subnet)) []Subnet { n := lab; f(&n); return []Subnet{n} }
	addr := netip.MustParseAddr
	for want, c := range map[string]struct {
		subnets []Subnet
		hosts   []Host
	}{
		"not an IPv4 network":            {subnets: with(func(n *Subnet) { n.Prefix = netip.MustParsePrefix("fd00::/64") })},
		"pool 10.0.1.1-10.0.0.109":       {subnets: with(func(n *Subnet) { n.PoolFrom = addr("10.0.1.1") })},
		"pool 10.0.0.100-invalid IP":     {subnets: with(func(n *Subnet) { n.PoolTo = none })},
		"pool of 131072 addresses":       {subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), PoolFrom: addr("10.2.0.0"), PoolTo: addr("10.3.255.255")}}},
		"router 10.0.1.1 is not inside":  {subnets: with(func(n *Subnet) { n.Router = addr("10.0.1.1") })},
		"lease of 1s":                    {subnets: with(func(n *Subnet) { n.Lease = time.Second })},
		"overlaps 10.0.0.0/24":           {subnets: []Subnet{lab, lab}},
		"in none of the subnets":         {subnets: []Subnet{lab}, hosts: []Host{{MAC: mac(1), Addr: addr("10.9.0.1")}}},
		"not a host's address":           {subnets: []Subnet{lab}, hosts: []Host{{MAC: mac(1), Addr: addr("10.0.0.255")}}},
		"is reserved for 52:54:00:00:00": {subnets: []Subnet{lab}, hosts: []Host{{MAC: mac(1), Addr: addr("10.0.0.7")}, {MAC: mac(2), Addr: addr("10.0.0.7")}}},
		"in that subnet already":         {subnets: []Subnet{lab}, hosts: []Host{{MAC: mac(1), Addr: addr("10.0.0.7")}, {MAC: mac(1), Addr: addr("10.0.0.8")}}},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := New(t.Context(), s, c.subnets, c.hosts, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := New(t.Context(), s, []Subnet{{Prefix: lab.Prefix}}, []Host{dut1}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("a subnet of hosts alone, lease by default: %v", err)
	}
}

func TestTiming(t *testing.T) {
	d := DefaultTiming
	if slowest := 11*time.Second + 16*time.Second; d.Offer < slowest {
		t.Errorf("an offer of %v ends before a PXE ROM takes it at %v", d.Offer, slowest)
	}
	if d.Quarantine >= d.Lease {
		t.Errorf("quarantine %v is longer than a lease %v", d.Quarantine, d.Lease)
	}
}
