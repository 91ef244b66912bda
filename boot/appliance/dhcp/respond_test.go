package dhcp

import (
	"bytes"
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
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var us = identity{addr: netip.MustParseAddr(ours), next: netip.MustParseAddr(ours)}

// answerTo is what a server with no state makes of a packet. It gives the first
// address of the pool, and each loader the first of its files.
func answerTo(q *request, mode Mode) answer {
	do, why := q.task(mode, us)
	var g grant
	switch {
	case do == nothing:
		return answer{text: "ignored: it " + why}
	case do == release || do == decline:
		return answer{text: "taken note of"}
	case mode == Full && do == inform:
		g.subnet = &lab
	case mode == Full && do == bind && q.wants() != lab.PoolFrom.Next():
		g.refused = true
	case mode == Full:
		g = grant{lease: &lease.Lease{Addr: lab.PoolFrom.Next(), Subnet: lab, Name: "dut1"}, subnet: &lab}
	}
	q.Server = us.next
	r, _ := firstFile(q.Request)
	return respond(q, mode, us, r, g)
}

// message makes a request of a client that was not recorded.
func message(mt dhcpv4.MessageType, with ...dhcpv4.Modifier) []byte {
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, TransactionID: [4]byte{1, 2, 3, 4},
		ClientHWAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Options: dhcpv4.OptionsFromList(dhcpv4.OptMessageType(mt)),
	}
	for _, f := range with {
		f(p)
	}
	return p.ToBytes()
}

func option(code uint8, value string) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), []byte(value))
}

func relayed(p *dhcpv4.DHCPv4) {
	p.GatewayIPAddr = net.IP{10, 77, 0, 254}
	p.UpdateOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.AgentCircuitIDSubOption, []byte("Gi1/0/7"))))
}

var (
	nobody = netip.MustParseAddrPort("0.0.0.0:68")
	agents = []dhcpv4.Modifier{option(77, "\x08"+board.AgentUserClass), option(60, board.AgentVendorPrefix+"qemu-x86_64"), dhcpv4.WithBroadcast(true)}
	rom    = []dhcpv4.Modifier{option(60, "PXEClient:Arch:00000:UNDI:002001"), option(93, "\x00\x00"), option(97, "\x00abcdefghijklmnop")}
	first  = string(lab.PoolFrom.Next().AsSlice())
)

// made are the packets of clients that were not recorded.
var made = []struct {
	name string
	mode Mode
	raw  []byte
	from netip.AddrPort
	port uint16
}{
	{"agent-full-discover", Full, message(dhcpv4.MessageTypeDiscover, agents...), nobody, 67},
	{"agent-full-request", Full, message(dhcpv4.MessageTypeRequest, append(agents, option(50, first), option(54, string(us.addr.AsSlice())))...), nobody, 67},
	{"agent-proxy-discover", Proxy, message(dhcpv4.MessageTypeDiscover, agents...), nobody, 67},
	{"plain-full-discover", Full, message(dhcpv4.MessageTypeDiscover, option(61, "\x01\x02\x00\x00\x00\x00\x01")), nobody, 67},
	{"plain-full-renew", Full, message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP(first))), netip.MustParseAddrPort("10.77.0.101:68"), 67},
	{"plain-full-wrong", Full, message(dhcpv4.MessageTypeRequest, option(50, "\x0a\x4d\x00\x6d")), nobody, 67},
	{"plain-full-other-server", Full, message(dhcpv4.MessageTypeRequest, option(50, first), option(54, "\x0a\x4d\x00\x02")), nobody, 67},
	{"plain-full-inform", Full, message(dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.IP(first))), netip.MustParseAddrPort("10.77.0.101:68"), 67},
	{"plain-full-inform-spoofed", Full, message(dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.IP{192, 0, 2, 1})), netip.MustParseAddrPort("10.77.0.101:68"), 67},
	{"plain-proxy-discover", Proxy, message(dhcpv4.MessageTypeDiscover), nobody, 67},
	{"plain-proxy-request-4011", Proxy, message(dhcpv4.MessageTypeRequest), netip.MustParseAddrPort("10.77.0.101:68"), 4011},
	{"rom-full-discover", Full, message(dhcpv4.MessageTypeDiscover, rom...), nobody, 67},
	{"rom-proxy-discover", Proxy, message(dhcpv4.MessageTypeDiscover, rom...), nobody, 67},
	// A Pi 4's REQUEST has no option 60 (raspberrypi/rpi-eeprom issue 82).
	{"rpi4-full-request", Full, message(dhcpv4.MessageTypeRequest, dhcpv4.WithHwAddr(net.HardwareAddr{0xe4, 0x5f, 1, 0xb7, 0x9d, 0xf1}),
		option(93, "\x00\x00"), option(97, "\x00RPi4\x11\x31\xc0\x00\xf1\x9d\xb7\x01\x1d\x6b\x2f\x9a"), option(50, first), option(54, string(us.addr.AsSlice()))), nobody, 67},
	{"relay-full-discover", Full, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"), relayed)...), netip.MustParseAddrPort("10.77.0.254:67"), 67},
	{"relay-proxy-discover", Proxy, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"), relayed)...), netip.MustParseAddrPort("10.77.0.254:67"), 67},
	{"relay-full-wrong", Full, message(dhcpv4.MessageTypeRequest, option(50, "\x0a\x4d\x00\x6d"), relayed), netip.MustParseAddrPort("10.77.0.254:67"), 67},
}

func TestGolden(t *testing.T) {
	golden := func(name string, mode Mode, raw []byte, from netip.AddrPort, port uint16) {
		t.Run(name, func(t *testing.T) {
			q, err := parse(raw, "eth0", from, port)
			if err != nil {
				t.Fatal(err)
			}
			a := answerTo(q, mode)
			got := fmt.Sprintf("%s: %s\n", q, a.text)
			if a.raw != nil {
				how := "by UDP"
				if a.frame {
					how = "in a frame to " + a.mac.String()
				}
				back, err := dhcpv4.FromBytes(a.raw)
				if err != nil {
					t.Fatalf("the answer cannot be read: %v", err)
				}
				got += fmt.Sprintf("to %s %s\n\n%s\n%s", a.to, how, back.Summary(), hex.Dump(a.raw))
			}
			nettest.Golden(t, filepath.Join("testdata", "golden", name+".txt"), got)
		})
	}
	recorded, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(recorded) == 0 {
		t.Fatalf("no recorded packets: %v", err)
	}
	for _, path := range recorded {
		rec := nettest.ReadPacket(t, path)
		mode := Full
		if strings.Contains(path, "-proxy-") {
			mode = Proxy
		}
		// Their REQUESTs are for the address that they were offered then.
		golden(strings.TrimSuffix(filepath.Base(path), ".hex"), mode, rec.Raw, rec.From, rec.Port)
	}
	for _, m := range made {
		golden(m.name, m.mode, m.raw, m.from, m.port)
	}
}

// codes lists the options of a message in the order in which they stand.
func codes(raw []byte) (list []byte) {
	for raw = raw[optionsAt:]; len(raw) > 1 && raw[0] != 255; raw = raw[2+int(raw[1]):] {
		list = append(list, raw[0])
	}
	return list
}

// requestOf reads a packet of a client that has no address.
func requestOf(t *testing.T, raw []byte) *request {
	t.Helper()
	q, err := parse(raw, "eth0", nobody, portServer)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestOrderAndSize(t *testing.T) {
	full := append(rom, option(77, "iPXE"), option(61, strings.Repeat("i", 255)), relayed,
		option(55, "\x96"), option(82, "\x01\xc8"+strings.Repeat("c", 200)))
	for _, size := range []int{0, 300, 576, 700, 1472, 65280} { // 0: it does not say
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			with := full
			if size > 0 {
				with = append(full, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(uint16(size))))
			}
			a := answerTo(requestOf(t, message(dhcpv4.MessageTypeDiscover, with...)), Full)
			if want := min(max(size, 576), 1500) - 28; len(a.raw) > want {
				t.Errorf("%d bytes, want at most %d", len(a.raw), want)
			}
			back, err := dhcpv4.FromBytes(a.raw)
			if err != nil {
				t.Fatal(err)
			}
			if back.BootFileName != "boot.ipxe" || !back.YourIPAddr.Equal(net.IP(first)) || back.IPAddressLeaseTime(0) != time.Hour {
				t.Errorf("what cannot be missed is missing: %s", back.Summary())
			}
			list := codes(a.raw)
			if i := slices.Index(list, 82); i >= 0 && i != len(list)-1 {
				t.Errorf("option 82 is not last of %d", list)
			}
			if want := []byte{67, 82}; size >= 1472 && (!bytes.HasSuffix(list, want) || !slices.Contains(list, 150) || !slices.Contains(list, 61)) {
				t.Errorf("options %d, want all, with %d at the end", list, want)
			}
		})
	}
}

func TestLongBootfile(t *testing.T) {
	q := requestOf(t, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"))...))
	file := "boot.ipxe/" + strings.Repeat("x", 130)
	a := respond(q, Proxy, us, boot.BootInfo{Bootfile: file}, grant{})
	back, err := dhcpv4.FromBytes(a.raw)
	if err != nil || back.BootFileName != "" || back.BootFileNameOption() != file {
		t.Errorf("a name longer than the header's field: %v, %v", back, err)
	}
}

func TestDecisions(t *testing.T) {
	q := requestOf(t, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"))...))
	given := grant{lease: &lease.Lease{Addr: lab.PoolFrom, Subnet: lab}, subnet: &lab}
	for _, tt := range []struct {
		name   string
		mode   Mode
		info   boot.BootInfo
		given  grant
		answer bool
	}{
		{"silent", Proxy, boot.BootInfo{Silent: true, Bootfile: "x"}, grant{}, false},
		{"silent in full mode", Full, boot.BootInfo{Silent: true}, given, false},
		{"nothing for it", Proxy, boot.BootInfo{}, grant{}, false},
		{"an address alone", Full, boot.BootInfo{}, given, true},
		{"a file", Proxy, boot.BootInfo{Bootfile: "x"}, grant{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := respond(q, tt.mode, us, tt.info, tt.given)
			if (a.raw != nil) != tt.answer || a.text == "" {
				t.Errorf("%q, %d bytes", a.text, len(a.raw))
			}
			back, err := dhcpv4.FromBytes(a.raw)
			if err == nil && tt.info.Bootfile == "" && (back.BootFileName != "" || addr4(back.ServerIPAddr).IsValid()) {
				t.Errorf("says what to boot: %s", back.Summary())
			}
		})
	}
}

func TestTiming(t *testing.T) {
	if d, ping := DefaultTiming, 3*time.Second; d.ProbeWait < ping+d.ProbeResend {
		t.Errorf("a probe of %v misses dnsmasq, which pings for %v, where the first DISCOVER is lost", d.ProbeWait, ping)
	}
	if got := (Timing{ProbeMore: time.Minute}).OrDefault(); got.ProbeMore != time.Minute || got.ProbeWait != DefaultTiming.ProbeWait || got.Look != DefaultTiming.Look {
		t.Errorf("fields that are 0 are not the default's: %+v", got)
	}
}
