package dhcp6

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// A pool of four. What is given is given to one client, as long as the lease
// lasts, and after a release to the next.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		ask := func(m machine, kind dhcpv6.MessageType, addrs ...netip.Addr) (netip.Addr, time.Duration, iana.StatusCode) {
			t.Helper()
			p, _ := s.answers(t, m.says(kind, addrs...))
			return given(t, p)
		}
		end := func(m machine, kind dhcpv6.MessageType, addr netip.Addr) {
			t.Helper()
			p, _ := s.answers(t, m.says(kind, addr))
			if len(p.Options.IANA()) > 0 || p.Options.Status().StatusCode != iana.StatusSuccess {
				t.Errorf("%s of %v by %d: %s", kind, addr, m, p.Summary())
			}
		}
		owner, addrOf := map[netip.Addr]machine{}, map[machine]netip.Addr{}
		for m := range machine(4) {
			offered, _, _ := ask(m, dhcpv6.MessageTypeSolicit)
			if len(s.Leases.List()) != int(m) {
				t.Fatal("an offer is remembered")
			}
			addr, valid, _ := ask(m, dhcpv6.MessageTypeRequest, offered)
			if addr != offered || valid != time.Hour || !lab.Prefix.Contains(addr) {
				t.Errorf("offered %s, gave %s for %v", offered, addr, valid)
			}
			if o, ok := owner[addr]; ok {
				t.Fatalf("%s is given to %d and %d", addr, o, m)
			}
			owner[addr], addrOf[m] = m, addr
		}
		if _, _, status := ask(9, dhcpv6.MessageTypeSolicit); status != iana.StatusNoAddrsAvail {
			t.Errorf("a fifth is told %s", status)
		}
		if _, _, status := ask(9, dhcpv6.MessageTypeRequest, lab.PoolFrom); status != iana.StatusNoAddrsAvail {
			t.Errorf("a fifth is told %s", status)
		}
		for addr, m := range owner {
			if got, valid, _ := ask(m, dhcpv6.MessageTypeRenew, addr); got != addr || valid != time.Hour {
				t.Errorf("renewed %s for %v, it has %s", got, valid, addr)
			}
			if got, valid, _ := ask(9, dhcpv6.MessageTypeRebind, addr); got != addr || valid != 0 {
				t.Errorf("another's %s is rebound as %s for %v", addr, got, valid)
			}
			if _, _, status := ask(9, dhcpv6.MessageTypeRelease, addr); status != iana.StatusNoBinding || len(s.Leases.List()) != 4 {
				t.Errorf("another's release: %s", status)
			}
		}
		// The first is released and given to the fifth. The second is declined,
		// and nobody's until the quarantine ends. All others' end with their leases.
		end(0, dhcpv6.MessageTypeRelease, addrOf[0])
		end(1, dhcpv6.MessageTypeDecline, addrOf[1])
		if addr, _, _ := ask(9, dhcpv6.MessageTypeRequest); addr != addrOf[0] {
			t.Errorf("got %s, only %s is free", addr, addrOf[0])
		}
		if _, _, status := ask(1, dhcpv6.MessageTypeRequest, addrOf[1]); status != iana.StatusNoAddrsAvail {
			t.Errorf("an address that was declined is given: %s", status)
		}
		time.Sleep(lease.DefaultTiming.Quarantine + time.Second)
		if addr, _, _ := ask(1, dhcpv6.MessageTypeRequest); addr != addrOf[1] {
			t.Errorf("got %s after the quarantine", addr)
		}
		time.Sleep(time.Hour + time.Hour/8) // a lease is kept for longer than is told
		if addr, _, status := ask(8, dhcpv6.MessageTypeRequest); !addr.IsValid() {
			t.Errorf("no lease has ended: %s", status)
		}
		if n := len(s.Leases.List()); n > 4 {
			t.Errorf("%d are remembered", n)
		}
	})
}

// A lease survives a restart. Nobody else is given the address, and its client
// renews it.
func TestRestart(t *testing.T) {
	st := memory(t)
	addr, _, _ := given(t, first(serverOn(t, st, lab).answers(t, machine(1).says(dhcpv6.MessageTypeRequest))))
	s := serverOn(t, st, lab)
	for m := range machine(3) {
		got, valid, _ := given(t, first(s.answers(t, machine(10+m).says(dhcpv6.MessageTypeRequest, addr))))
		if got == addr || valid != time.Hour {
			t.Errorf("another is given %s for %v", got, valid)
		}
	}
	if got, valid, _ := given(t, first(s.answers(t, machine(1).says(dhcpv6.MessageTypeRenew, addr)))); got != addr || valid != time.Hour {
		t.Errorf("renewed %s for %v, it had %s", got, valid, addr)
	}
}

func first(p *dhcpv6.Message, _ answer) *dhcpv6.Message { return p }

// A store that fails has nobody told that there is no address.
func TestStoreFails(t *testing.T) {
	st := store.NewMemory()
	s := serverOn(t, st, lab)
	st.Close()
	p, a := s.answers(t, machine(1).says(dhcpv6.MessageTypeRequest))
	if p != nil || a.text != "not answered: the appliance could not store it; its log says why" {
		t.Errorf("answered %v, noted %q", p, a.text)
	}
}

// Of an address that is in no book nothing is known. Who renews it keeps it, if
// it can be his.
func TestRenewalOfUnknown(t *testing.T) {
	s := newServer(t)
	for _, tt := range []struct {
		name, addr string
		want       time.Duration
	}{
		{"of the pool", "fd00:77::102", time.Hour},
		{"ours", "fd00:77::1", 0},
		{"outside the pool", "fd00:77::99", 0},
		{"of another network", "fd00:78::1", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := s.answers(t, machine(1).says(dhcpv6.MessageTypeRenew, netip.MustParseAddr(tt.addr)))
			if got, valid, _ := given(t, p); got.String() != tt.addr || valid != tt.want {
				t.Errorf("renewed as %s for %v, want %v", got, valid, tt.want)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		p, _ := s.answers(t, machine(2).says(dhcpv6.MessageTypeRenew))
		if _, _, status := given(t, p); status != iana.StatusNoBinding {
			t.Errorf("told %s", status)
		}
	})
}
