package dhcp6

import (
	"encoding/hex"
	"fmt"
	"log/slog"
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
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

var (
	lab = lease.Subnet{
		Prefix:   netip.MustParsePrefix("fd00:77::/64"),
		PoolFrom: netip.MustParseAddr("fd00:77::100"), PoolTo: netip.MustParseAddr("fd00:77::103"),
		DNS: []netip.Addr{netip.MustParseAddr("fd00:77::1"), netip.MustParseAddr("fd00:77::2")}, Lease: time.Hour,
	}
	firmware = netip.MustParseAddrPort("[fe80::5054:ff:fe12:3456]:546")
	ourDUID  = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
)

// newServer is one without a socket.
func newServer(t testing.TB) *Server { return serverOn(t, memory(t), lab) }

// serverOn is one without a socket, over a store.
func serverOn(t testing.TB, st store.Store, subnet lease.Subnet) *Server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	leases, err := lease.New6(t.Context(), st, []lease.Subnet{subnet}, log)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Interface: "eth0", Addr: netip.MustParseAddr("fd00:77::1"), Subnet: subnet, Leases: leases, Log: log, duid: ourDUID}
}

// memory is a store that is closed with the test.
func memory(t testing.TB) store.Store {
	t.Helper()
	st := store.NewMemory()
	t.Cleanup(func() { st.Close() })
	return st
}

// firstFile gives each loader the first of its files.
func firstFile(r boot.Request) boot.BootInfo {
	info := boot.BootInfo{Machine: "m-" + r.MAC.String()}
	if l := r.Loader; l != nil && len(l.Files) > 0 {
		info.Bootfile = l.Files[0]
		if l.HTTP {
			info.Bootfile = "http://" + r.Server.String() + "/" + info.Bootfile
		}
	}
	return info
}

// A machine is a client with one IA_NA.
type machine byte

func (m machine) duid() *dhcpv6.DUIDLL {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 1, byte(m)}}
}

// says makes a message about addresses.
func (m machine) says(t dhcpv6.MessageType, addrs ...netip.Addr) *dhcpv6.Message {
	p := &dhcpv6.Message{MessageType: t, TransactionID: dhcpv6.TransactionID{1, 2, byte(m)}}
	p.AddOption(dhcpv6.OptClientID(m.duid()))
	switch t {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		p.AddOption(dhcpv6.OptServerID(ourDUID))
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

// respondTo is what a server makes of a packet, without a socket.
func (s *Server) respondTo(t testing.TB, raw []byte, from netip.AddrPort) (*request, answer, error) {
	t.Helper()
	q, err := parse(raw, "eth0", from, s.duid)
	if err != nil {
		return nil, answer{}, err
	}
	q.Server = s.Addr
	given, err := s.grant(t.Context(), q)
	if err != nil {
		return q, s.explain(q, err), nil
	}
	return q, respond(q, s.identity(), firstFile(q.Request), given), nil
}

// answers has a server answer a message, and reads the answer.
func (s *Server) answers(t testing.TB, m *dhcpv6.Message) (*dhcpv6.Message, answer) {
	t.Helper()
	_, a, err := s.respondTo(t, m.ToBytes(), firmware)
	if err != nil {
		t.Fatal(err)
	}
	if a.raw == nil {
		return nil, a
	}
	p, err := dhcpv6.MessageFromBytes(a.raw)
	if err != nil {
		t.Fatalf("the answer cannot be read: %v", err)
	}
	if a.to != firmware || p.TransactionID != m.TransactionID || !p.Options.ServerID().Equal(ourDUID) {
		t.Errorf("answer to %v, transaction %x, of server %v", a.to, p.TransactionID, p.Options.ServerID())
	}
	return p, a
}

// Packets of firmware, recorded in QEMU by cmd/mkboot's TestQEMUIPv6, and what
// we answer: go test -run TestGolden -update writes it anew.
func TestGolden(t *testing.T) {
	recorded, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(recorded) < 7 {
		t.Fatalf("%d packets are recorded (%v)", len(recorded), err)
	}
	for _, path := range recorded {
		t.Run(filepath.Base(path), func(t *testing.T) {
			rec := nettest.ReadPacket(t, path)
			m, err := dhcpv6.MessageFromBytes(rec.Raw)
			if err != nil {
				t.Fatal(err)
			}
			s := newServer(t)
			if duid := m.Options.ServerID(); duid != nil {
				s.duid = duid
			}
			q, a, err := s.respondTo(t, rec.Raw, rec.From)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s from %s, %s: %s\nto %s\n\n%s", q.MessageType, q.Program(), q.MAC, a.text, a.to, hex.Dump(a.raw))
			nettest.Golden(t, strings.TrimSuffix(path, ".hex")+".txt", got)
		})
	}
}

// What RFC 8415 section 16 says is not to be answered, and what would have us
// answer others.
func TestDiscards(t *testing.T) {
	message := func(t dhcpv6.MessageType, change ...dhcpv6.Modifier) []byte {
		m := machine(1).says(t)
		for _, c := range change {
			c(m)
		}
		return m.ToBytes()
	}
	no := func(code dhcpv6.OptionCode) dhcpv6.Modifier {
		return func(d dhcpv6.DHCPv6) { d.(*dhcpv6.Message).Options.Del(code) }
	}
	other := dhcpv6.WithServerID(machine(9).duid())
	many := make([]dhcpv6.Modifier, maxAddresses)
	for i := range many {
		many[i] = func(d dhcpv6.DHCPv6) { d.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{byte(i)}}) }
	}
	addrs := slices.Repeat([]netip.Addr{lab.PoolFrom}, maxAddresses+1)
	for _, tt := range []struct {
		name string
		raw  []byte
		from string
	}{
		{name: "solicit without client", raw: message(dhcpv6.MessageTypeSolicit, no(dhcpv6.OptionClientID))},
		{name: "solicit to a server", raw: message(dhcpv6.MessageTypeSolicit, dhcpv6.WithServerID(ourDUID))},
		{name: "request to another", raw: message(dhcpv6.MessageTypeRequest, other)},
		{name: "request to nobody", raw: message(dhcpv6.MessageTypeRequest, no(dhcpv6.OptionServerID))},
		{name: "release to another", raw: message(dhcpv6.MessageTypeRelease, other)},
		{name: "rebind to a server", raw: message(dhcpv6.MessageTypeRebind, dhcpv6.WithServerID(ourDUID))},
		{name: "information to another", raw: message(dhcpv6.MessageTypeInformationRequest, other)},
		{name: "a server's", raw: message(dhcpv6.MessageTypeReply)},
		{name: "from a global address", raw: message(dhcpv6.MessageTypeSolicit), from: "[2001:db8::1]:546"},
		{name: "long identifier", raw: message(dhcpv6.MessageTypeSolicit, dhcpv6.WithClientID(&dhcpv6.DUIDOpaque{Type: 9, Data: make([]byte, 129)}))},
		{name: "many IAs", raw: message(dhcpv6.MessageTypeSolicit, many...)},
		{name: "many addresses", raw: machine(1).says(dhcpv6.MessageTypeRenew, addrs...).ToBytes()},
		{name: "cut short", raw: message(dhcpv6.MessageTypeSolicit)[:3]},
		{name: "relayed", raw: append([]byte{12}, make([]byte, 40)...)},
		{name: "nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := firmware
			if tt.from != "" {
				from = netip.MustParseAddrPort(tt.from)
			}
			if _, err := parse(tt.raw, "eth0", from, ourDUID); err == nil {
				t.Error("it is not discarded")
			}
		})
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

// Each kind of loader is told what it can use, and a host nothing.
func TestBootFile(t *testing.T) {
	says := func(arch iana.Arch, vendor, user string) *dhcpv6.Message {
		m := machine(1).says(dhcpv6.MessageTypeSolicit)
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
	for _, tt := range []struct {
		name        string
		m           *dhcpv6.Message
		url, vendor string
	}{
		{"x64", says(7, "PXEClient:Arch:00007:UNDI:003000", ""), "tftp://[fd00:77::1]/" + board.UKI, ""},
		{"arm64", says(11, "PXEClient:Arch:00011:UNDI:003000", ""), "tftp://[fd00:77::1]/" + board.UKI, ""},
		{"http", says(16, "HTTPClient:Arch:00016:UNDI:003001", ""), "http://fd00:77::1/" + board.UKI, board.HTTPClass},
		{"ipxe", says(7, "PXEClient:Arch:00007:UNDI:003010", "iPXE"), "", ""},
		{"host", machine(1).says(dhcpv6.MessageTypeSolicit), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, a := newServer(t).answers(t, tt.m)
			vendor := ""
			if v := p.Options.VendorClass(intel); len(v) > 0 {
				vendor = string(v[0])
			}
			if url := p.Options.BootFileURL(); url != tt.url || vendor != tt.vendor || (p.Options.Preference() == 255) != (tt.url != "") {
				t.Errorf("%s; url %q, vendor class %q, preference %d", a.text, url, vendor, p.Options.Preference())
			}
			if dns := p.Options.DNS(); len(dns) != 2 {
				t.Errorf("DNS servers %v", dns)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		want       iana.StatusCode
	}{
		{"of this link", "fd00:77::102", iana.StatusSuccess},
		{"of another", "fd00:78::1", iana.StatusNotOnLink},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := newServer(t).answers(t, machine(1).says(dhcpv6.MessageTypeConfirm, netip.MustParseAddr(tt.addr)))
			if s := p.Options.Status(); s == nil || s.StatusCode != tt.want {
				t.Errorf("told %v, want %s", s, tt.want)
			}
		})
	}
	t.Run("of nothing", func(t *testing.T) {
		if p, a := newServer(t).answers(t, machine(1).says(dhcpv6.MessageTypeConfirm)); p != nil {
			t.Errorf("answered: %s", a.text)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	recorded, _ := filepath.Glob("testdata/*.hex")
	for _, path := range recorded {
		f.Add(nettest.ReadPacket(f, path).Raw)
	}
	for _, kind := range []dhcpv6.MessageType{1, 3, 4, 5, 6, 8, 9, 11} {
		f.Add(machine(1).says(kind, lab.PoolFrom).ToBytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := string(raw)
		s := newServer(t)
		q, a, err := s.respondTo(t, raw, firmware)
		if err != nil {
			return
		}
		if string(raw) != before || a.text == "" || strings.ContainsAny(a.text, "\n\x00") {
			t.Fatalf("said %q", a.text)
		}
		for _, l := range s.Leases.List() {
			if lab.PoolFrom.Compare(l.Addr) > 0 || l.Addr.Compare(lab.PoolTo) > 0 {
				t.Fatalf("gave %s", l.Addr)
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
