package dhcp

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

var (
	lab6 = lease.Subnet{
		Prefix:   netip.MustParsePrefix("fd00:77::/64"),
		PoolFrom: netip.MustParseAddr("fd00:77::100"), PoolTo: netip.MustParseAddr("fd00:77::103"),
		DNS: []netip.Addr{netip.MustParseAddr("fd00:77::1"), netip.MustParseAddr("fd00:77::2")}, Lease: time.Hour,
	}
	firmware6 = netip.MustParseAddrPort("[fe80::5054:ff:fe12:3456]:546")
	me6       = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
)

func newSix() *six {
	return &six{addr: netip.MustParseAddr("fd00:77::1"), duid: me6, subnet: lab6, held: map[netip.Addr]held6{}}
}

// A machine6 is a client with one IA_NA.
type machine6 byte

func (m machine6) duid() *dhcpv6.DUIDLL {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 1, byte(m)}}
}

// says makes a message about addresses.
func (m machine6) says(t dhcpv6.MessageType, addrs ...netip.Addr) *dhcpv6.Message {
	p := &dhcpv6.Message{MessageType: t, TransactionID: dhcpv6.TransactionID{1, 2, byte(m)}}
	p.AddOption(dhcpv6.OptClientID(m.duid()))
	switch t {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		p.AddOption(dhcpv6.OptServerID(me6))
	}
	ia := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, 7}}
	for _, a := range addrs {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
	}
	if t != dhcpv6.MessageTypeInformationRequest {
		p.AddOption(ia)
	}
	return p
}

// answered has a six answer a message, and reads the answer.
func (x *six) answered(t testing.TB, m *dhcpv6.Message, from netip.AddrPort, now time.Time) (*dhcpv6.Message, answer) {
	t.Helper()
	q, err := hearSix(m.ToBytes(), "eth0", from, x.duid)
	if err != nil {
		t.Fatal(err)
	}
	q.Next = x.addr
	r, _ := firstFile(q.Hearing)
	a := respondSix(q, x, r, x.grant(q, now))
	if a.raw == nil {
		return nil, a
	}
	p, err := dhcpv6.MessageFromBytes(a.raw)
	if err != nil {
		t.Fatalf("the answer cannot be read: %v", err)
	}
	if a.to != from || p.TransactionID != m.TransactionID || !p.Options.ServerID().Equal(me6) {
		t.Errorf("answer to %v, transaction %x, of server %v", a.to, p.TransactionID, p.Options.ServerID())
	}
	return p, a
}

// Packets of firmware, recorded in QEMU by cmd/mkboot's TestQEMUIPv6, and what
// we answer: go test -run TestGoldenSix -update writes it anew.
func TestGoldenSix(t *testing.T) {
	recorded, err := filepath.Glob("testdata/six/*.hex")
	if err != nil || len(recorded) < 7 {
		t.Fatalf("%d packets are recorded (%v)", len(recorded), err)
	}
	for _, path := range recorded {
		t.Run(filepath.Base(path), func(t *testing.T) {
			raw, from, _ := unkeep(t, path)
			m, err := dhcpv6.MessageFromBytes(raw)
			if err != nil {
				t.Fatal(err)
			}
			x := newSix()
			x.duid = m.Options.ServerID()
			if x.duid == nil {
				x.duid = me6
			}
			q, err := hearSix(raw, "eth0", from, x.duid)
			if err != nil {
				t.Fatal(err)
			}
			q.Next = x.addr
			r, _ := firstFile(q.Hearing)
			a := respondSix(q, x, r, x.grant(q, time.Now()))
			got := fmt.Sprintf("%s from %s, %s: %s\nto %s\n\n%s", q.MessageType, q.who(), q.MAC, a.text, a.to, hex.Dump(a.raw))
			holdGolden(t, strings.TrimSuffix(path, ".hex")+".txt", got)
		})
	}
}

// What RFC 8415 section 16 says is not to be answered, and what would have us
// answer others.
func TestSixDiscards(t *testing.T) {
	message := func(t dhcpv6.MessageType, change ...dhcpv6.Modifier) []byte {
		m := machine6(1).says(t)
		for _, c := range change {
			c(m)
		}
		return m.ToBytes()
	}
	no := func(code dhcpv6.OptionCode) dhcpv6.Modifier {
		return func(d dhcpv6.DHCPv6) { d.(*dhcpv6.Message).Options.Del(code) }
	}
	other := dhcpv6.WithServerID(machine6(9).duid())
	many := make([]dhcpv6.Modifier, maxIA)
	for i := range many {
		many[i] = func(d dhcpv6.DHCPv6) { d.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{byte(i)}}) }
	}
	for name, tt := range map[string]struct {
		raw  []byte
		from string
	}{
		"solicit without client": {raw: message(dhcpv6.MessageTypeSolicit, no(dhcpv6.OptionClientID))},
		"solicit to a server":    {raw: message(dhcpv6.MessageTypeSolicit, dhcpv6.WithServerID(me6))},
		"request to another":     {raw: message(dhcpv6.MessageTypeRequest, other)},
		"request to nobody":      {raw: message(dhcpv6.MessageTypeRequest, no(dhcpv6.OptionServerID))},
		"release to another":     {raw: message(dhcpv6.MessageTypeRelease, other)},
		"rebind to a server":     {raw: message(dhcpv6.MessageTypeRebind, dhcpv6.WithServerID(me6))},
		"information to another": {raw: message(dhcpv6.MessageTypeInformationRequest, other)},
		"a server's":             {raw: message(dhcpv6.MessageTypeReply)},
		"from a global address":  {raw: message(dhcpv6.MessageTypeSolicit), from: "[2001:db8::1]:546"},
		"long identifier":        {raw: message(dhcpv6.MessageTypeSolicit, dhcpv6.WithClientID(&dhcpv6.DUIDOpaque{Type: 9, Data: make([]byte, 129)}))},
		"many IAs":               {raw: message(dhcpv6.MessageTypeSolicit, many...)},
		"cut short":              {raw: message(dhcpv6.MessageTypeSolicit)[:3]},
		"relayed":                {raw: append([]byte{12}, make([]byte, 40)...)},
		"nothing":                {},
	} {
		from := firmware6
		if tt.from != "" {
			from = netip.MustParseAddrPort(tt.from)
		}
		if _, err := hearSix(tt.raw, "eth0", from, me6); err == nil {
			t.Errorf("%s is heard", name)
		}
	}
	addrs := slices.Repeat([]netip.Addr{lab6.PoolFrom}, maxIA+1)
	if _, err := hearSix(machine6(1).says(dhcpv6.MessageTypeRenew, addrs...).ToBytes(), "eth0", firmware6, me6); err == nil {
		t.Error("many addresses are heard")
	}
}

// given is the address of an answer's one IA_NA, and what else it says of it.
func given(t *testing.T, p *dhcpv6.Message) (addr netip.Addr, valid time.Duration, status iana.StatusCode) {
	t.Helper()
	ia := p.Options.OneIANA()
	if ia == nil {
		t.Fatalf("no IA_NA in %s", p.Summary())
	}
	if s := ia.Options.Status(); s != nil {
		status = s.StatusCode
	}
	if o := ia.Options.OneAddress(); o != nil {
		addr, _ = netip.AddrFromSlice(o.IPv6Addr)
		valid = o.ValidLifetime
	}
	return addr, valid, status
}

// A pool of four: what is given is given to one client, as long as the lease
// lasts, and after a release to the next.
func TestSixPool(t *testing.T) {
	x, now := newSix(), time.Now()
	ask := func(m machine6, kind dhcpv6.MessageType, addrs ...netip.Addr) (netip.Addr, time.Duration, iana.StatusCode) {
		t.Helper()
		p, _ := x.answered(t, m.says(kind, addrs...), firmware6, now)
		if kind == dhcpv6.MessageTypeRelease || kind == dhcpv6.MessageTypeDecline {
			if len(p.Options.IANA()) > 0 || p.Options.Status().StatusCode != iana.StatusSuccess {
				t.Errorf("%s of %v by %d: %s", kind, addrs, m, p.Summary())
			}
			return netip.Addr{}, 0, 0
		}
		return given(t, p)
	}
	owner := map[netip.Addr]machine6{}
	for m := range machine6(4) {
		offered, _, _ := ask(m, dhcpv6.MessageTypeSolicit)
		if len(x.held) != int(m) {
			t.Fatal("an offer is remembered")
		}
		addr, valid, _ := ask(m, dhcpv6.MessageTypeRequest, offered)
		if addr != offered || valid != time.Hour || !lab6.Prefix.Contains(addr) {
			t.Errorf("offered %s, gave %s for %v", offered, addr, valid)
		}
		if o, ok := owner[addr]; ok {
			t.Fatalf("%s is given to %d and %d", addr, o, m)
		}
		owner[addr] = m
	}
	if _, _, status := ask(9, dhcpv6.MessageTypeSolicit); status != iana.StatusNoAddrsAvail {
		t.Errorf("a fifth is told %s", status)
	}
	if _, _, status := ask(9, dhcpv6.MessageTypeRequest, lab6.PoolFrom); status != iana.StatusNoAddrsAvail {
		t.Errorf("a fifth is told %s", status)
	}
	for addr, m := range owner {
		if got, valid, _ := ask(m, dhcpv6.MessageTypeRenew, addr); got != addr || valid != time.Hour {
			t.Errorf("renewed %s for %v, it has %s", got, valid, addr)
		}
		if got, valid, _ := ask(9, dhcpv6.MessageTypeRebind, addr); got != addr || valid != 0 {
			t.Errorf("another's %s is rebound as %s for %v", addr, got, valid)
		}
		p, _ := x.answered(t, machine6(9).says(dhcpv6.MessageTypeRelease, addr), firmware6, now)
		if _, _, status := given(t, p); status != iana.StatusNoBinding || x.held[addr].who == "" {
			t.Errorf("another's release: %s", status)
		}
	}
	// The first is released and given to the fifth; the second declined, and
	// nobody's until the quarantine ends; all others' end with their leases.
	var first, second netip.Addr
	for addr, m := range owner {
		switch m {
		case 0:
			first = addr
		case 1:
			second = addr
		}
	}
	ask(0, dhcpv6.MessageTypeRelease, first)
	ask(1, dhcpv6.MessageTypeDecline, second)
	if addr, _, _ := ask(9, dhcpv6.MessageTypeRequest); addr != first {
		t.Errorf("got %s, only %s is free", addr, first)
	}
	if _, _, status := ask(1, dhcpv6.MessageTypeRequest, second); status != iana.StatusNoAddrsAvail {
		t.Errorf("an address that was declined is given: %s", status)
	}
	now = now.Add(lease.DefaultTiming.Quarantine + time.Second)
	if addr, _, _ := ask(1, dhcpv6.MessageTypeRequest); addr != second {
		t.Errorf("got %s after the quarantine", addr)
	}
	now = now.Add(time.Hour)
	if addr, _, status := ask(8, dhcpv6.MessageTypeRequest); !addr.IsValid() {
		t.Errorf("no lease has ended: %s", status)
	}
	if len(x.held) > 4 {
		t.Errorf("%d are remembered", len(x.held))
	}
}

// After a restart nothing is known: who renews keeps what he has, if it can be his.
func TestSixRestart(t *testing.T) {
	x, now := newSix(), time.Now()
	for addr, want := range map[string]time.Duration{"fd00:77::102": time.Hour, "fd00:77::1": 0, "fd00:77::99": 0, "fd00:78::1": 0} {
		p, _ := x.answered(t, machine6(1).says(dhcpv6.MessageTypeRenew, netip.MustParseAddr(addr)), firmware6, now)
		if got, valid, _ := given(t, p); got.String() != addr || valid != want {
			t.Errorf("renewed %s as %s for %v, want %v", addr, got, valid, want)
		}
	}
	p, _ := x.answered(t, machine6(2).says(dhcpv6.MessageTypeRenew), firmware6, now)
	if _, _, status := given(t, p); status != iana.StatusNoBinding {
		t.Errorf("renewed nothing: %s", status)
	}
}

func TestSixConfirm(t *testing.T) {
	x := newSix()
	for addr, want := range map[string]iana.StatusCode{"fd00:77::102": iana.StatusSuccess, "fd00:78::1": iana.StatusNotOnLink} {
		p, _ := x.answered(t, machine6(1).says(dhcpv6.MessageTypeConfirm, netip.MustParseAddr(addr)), firmware6, time.Now())
		if s := p.Options.Status(); s == nil || s.StatusCode != want {
			t.Errorf("confirm %s: %v, want %s", addr, s, want)
		}
	}
	if p, a := x.answered(t, machine6(1).says(dhcpv6.MessageTypeConfirm), firmware6, time.Now()); p != nil {
		t.Errorf("a confirm of nothing is answered: %s", a.text)
	}
}

// Each kind of loader is told what it can use, and a host nothing.
func TestSixBootFile(t *testing.T) {
	says := func(arch iana.Arch, vendor, user string) *dhcpv6.Message {
		m := machine6(1).says(dhcpv6.MessageTypeSolicit)
		m.AddOption(dhcpv6.OptClientArchType(arch))
		if vendor != "" {
			m.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: intel, Data: [][]byte{[]byte(vendor)}})
		}
		if user != "" {
			m.AddOption(&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte(user)}})
		}
		m.Options.Update(dhcpv6.OptClientID(&dhcpv6.DUIDUUID{UUID: [16]byte{1, 2, 3}}))
		return m
	}
	for name, tt := range map[string]struct {
		m           *dhcpv6.Message
		url, vendor string
	}{
		"x64":   {says(7, "PXEClient:Arch:00007:UNDI:003000", ""), "tftp://[fd00:77::1]/" + board.UKI, ""},
		"arm64": {says(11, "PXEClient:Arch:00011:UNDI:003000", ""), "tftp://[fd00:77::1]/" + board.UKI, ""},
		"http":  {says(16, "HTTPClient:Arch:00016:UNDI:003001", ""), "http://fd00:77::1/" + board.UKI, httpClient},
		"ipxe":  {says(7, "PXEClient:Arch:00007:UNDI:003010", "iPXE"), "", ""},
		"host":  {machine6(1).says(dhcpv6.MessageTypeSolicit), "", ""},
	} {
		p, a := newSix().answered(t, tt.m, firmware6, time.Now())
		vendor := ""
		if v := p.Options.VendorClass(intel); len(v) > 0 {
			vendor = string(v[0])
		}
		if url := p.Options.BootFileURL(); url != tt.url || vendor != tt.vendor || (p.Options.Preference() == 255) != (tt.url != "") {
			t.Errorf("%s: %s; url %q, vendor class %q, preference %d", name, a.text, url, vendor, p.Options.Preference())
		}
		if dns := p.Options.DNS(); len(dns) != 2 {
			t.Errorf("%s: DNS servers %v", name, dns)
		}
	}
}

// With a pool the router tells where addresses are to be had, and that the
// network is on the link; it is no router itself, and has nobody make an
// address of his own.
func TestRouterWithPool(t *testing.T) {
	mac := boot.MAC{2, 0, 0, 0, 0, 1}
	icmp := advertisement(mac, &lab6)
	want := "86000000" + "40800000" + "00000000" + "00000000" + "0101020000000001" +
		"03044080" + "00278d00" + "00093a80" + "00000000" + "fd000077000000000000000000000000"
	if got := hex.EncodeToString(icmp); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(advertisement(mac, nil)); got != "86000000"+"40000000"+"00000000"+"00000000" {
		t.Errorf("without a pool: %s", got)
	}
}

func FuzzSix(f *testing.F) {
	recorded, _ := filepath.Glob("testdata/six/*.hex")
	for _, path := range recorded {
		raw, _, _ := unkeep(f, path)
		f.Add(raw)
	}
	for _, kind := range []dhcpv6.MessageType{1, 3, 4, 5, 6, 8, 9, 11} {
		f.Add(machine6(1).says(kind, lab6.PoolFrom).ToBytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := string(raw)
		x := newSix()
		q, err := hearSix(raw, "eth0", firmware6, me6)
		if err != nil {
			return
		}
		q.Next = x.addr
		r, _ := firstFile(q.Hearing)
		a := respondSix(q, x, r, x.grant(q, time.Unix(0, 0)))
		if string(raw) != before || a.text == "" || strings.ContainsAny(a.text, "\n\x00") {
			t.Fatalf("said %q", a.text)
		}
		if len(x.held) > 4 {
			t.Fatalf("%d addresses of 4 are held", len(x.held))
		}
		for addr := range x.held {
			if !x.free(addr, x.held[addr].who, time.Unix(0, 0)) {
				t.Fatalf("gave %s", addr)
			}
		}
		if a.raw == nil {
			return
		}
		p, err := dhcpv6.MessageFromBytes(a.raw)
		if err != nil || p.TransactionID != q.TransactionID || len(a.raw) > 1232 { // what fits every link, RFC 8200 section 5
			t.Fatalf("%x cannot be read (%v), or is too long", a.raw, err)
		}
	})
}
