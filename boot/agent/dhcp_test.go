package agent

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// serveDHCP answers what the agent sends by calling reply on the servers' link,
// one message at a time; nil is no answer.
func (l *lab) serveDHCP(reply func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4) {
	var conn net.PacketConn
	l.srv.Do(l.t, func() {
		var err error
		if conn, err = nclient4.NewRawUDPConn("eth0", nclient4.ServerPort); err != nil {
			l.t.Fatal(err)
		}
	})
	var wg sync.WaitGroup
	l.t.Cleanup(func() { conn.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m, err := dhcpv4.FromBytes(buf[:n])
			if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest {
				continue
			}
			if r := reply(m); r != nil {
				conn.WriteTo(r.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ClientPort})
			}
		}
	})
}

func answer(m *dhcpv4.DHCPv4, typ dhcpv4.MessageType, server netip.Addr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r, err := dhcpv4.NewReplyFromRequest(m, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(typ), dhcpv4.WithServerIP(server.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server.AsSlice())),
	}, mods...)...)
	if err != nil {
		panic(err)
	}
	return r
}

// An ordinary server gives the address, and an appliance beside it answers as
// ProxyDHCP: yiaddr 0, and in siaddr where the plan is.
func TestProxyDHCP(t *testing.T) {
	l := newLab(t)
	router := l.addr
	l.addr = l.addr.Next()
	run(t, l.srv, "ip", "addr", "add", l.addr.String()+"/24", "dev", "eth0")
	l.serveHTTP() // at the appliance's address
	l.dnsmasq()
	var mu sync.Mutex
	var heard *dhcpv4.DHCPv4
	var on atomic.Bool
	l.serveDHCP(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if m.MessageType() != dhcpv4.MessageTypeDiscover || !on.Load() {
			return nil
		}
		mu.Lock()
		heard = m
		mu.Unlock()
		return answer(m, dhcpv4.MessageTypeOffer, l.addr, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(board.ApplianceClass)))
	})
	l.putPlan(l.plan(boot.ActionWait))
	a := l.agent(child{Say: 500 * time.Millisecond})
	a.says("waiting for DHCP: "+router.String()+" offers", "but no appliance answers")
	on.Store(true)
	a.says("bootlace: eth0 has", "from "+router.String(), "appliance is "+l.addr.String())
	l.event(boot.KindWaiting)

	mu.Lock()
	defer mu.Unlock()
	if got := heard.UserClass(); len(got) != 1 || got[0] != board.AgentUserClass {
		t.Errorf("user class %q", got)
	}
	if raw := heard.Options.Get(dhcpv4.OptionUserClassInformation); string(raw) != "\x08bootlace" {
		t.Errorf("user class on the wire is %q, not in the form of RFC 3004", raw)
	}
	if got := heard.ClassIdentifier(); got != "bootlace:testboard" {
		t.Errorf("vendor class %q", got)
	}
	if len(heard.ClientArch()) != 1 {
		t.Errorf("client architecture %v", heard.ClientArch())
	}
	if u := productUUID(); u != nil {
		if got := heard.Options.Get(dhcpv4.OptionClientMachineIdentifier); string(got) != "\x00"+string(u[:]) {
			t.Errorf("option 97 is %x, want %x", got, u)
		}
	}
}

// A flash outlasts a lease: it is renewed, and when the server takes it away
// another one is asked for while the job goes on.
func TestLeaseIsKept(t *testing.T) {
	l := newLab(t)
	l.dnsmasq("--dhcp-ignore=tag:!nobody") // TFTP alone
	base := strings.TrimSuffix(l.addr.String(), ".1")
	first, second := netip.MustParseAddr(base+".50"), netip.MustParseAddr(base+".60")
	var mu sync.Mutex
	renewed := 0 // times it was asked for, one sent again included
	give := first
	l.serveDHCP(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		mu.Lock()
		defer mu.Unlock()
		typ, mask := dhcpv4.MessageTypeAck, dhcpv4.WithNetmask(net.CIDRMask(24, 32))
		switch {
		case m.MessageType() == dhcpv4.MessageTypeDiscover:
			typ = dhcpv4.MessageTypeOffer
		case m.ClientIPAddr.Equal(first.AsSlice()):
			if renewed++; renewed > 1 { // from the second renewal on it is refused
				give = second
				return answer(m, dhcpv4.MessageTypeNak, l.addr)
			}
			mask = func(*dhcpv4.DHCPv4) {} // it is not said again
		}
		return answer(m, typ, l.addr, dhcpv4.WithYourIP(give.AsSlice()), dhcpv4.WithLeaseTime(3600),
			dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRenewTimeValue, Value: dhcpv4.Duration(time.Second)}), mask, dhcpv4.WithRouter(l.addr.AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptClassIdentifier(board.ApplianceClass)))
	})
	l.putPlan(l.plan(boot.ActionWait))
	a := l.agent(child{Post: 2 * time.Second}) // a connection from the first address is dead later
	a.says("bootlace: eth0 has " + first.String() + "/24")
	l.event(boot.KindWaiting)
	a.says("lease of "+first.String()+"/24 is lost", "Nak", "eth0 has "+second.String()+"/24")
	mu.Lock()
	if renewed < 2 {
		t.Errorf("%d renewals", renewed)
	}
	mu.Unlock()
	l.dev.Do(t, func() {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		all, err := ifi.Addrs()
		all = slices.DeleteFunc(all, func(a net.Addr) bool { return netip.MustParsePrefix(a.String()).Addr().Is6() })
		if want := second.String() + "/24"; err != nil || len(all) != 1 || all[0].String() != want {
			t.Errorf("addresses %v, %v; want %s alone", all, err, want)
		}
	})
	p := l.plan(boot.ActionWait)
	p.Job = "job2"
	l.forget()
	l.putPlan(p)
	l.event(boot.KindWaiting)
}
