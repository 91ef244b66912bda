package dhcp

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func FuzzAnswer(f *testing.F) {
	recorded, _ := filepath.Glob("testdata/*.hex")
	for _, path := range recorded {
		rec := nettest.ReadPacket(f, path)
		f.Add(rec.Raw, rec.Port == portBINL, strings.Contains(path, "-full-"))
	}
	for _, m := range made {
		f.Add(m.raw, m.port == portBINL, m.mode == Full)
	}
	for _, code := range []uint8{61, 82, 97} {
		f.Add(message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"), option(code, strings.Repeat("\x01\x01", 400)))...), false, true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, binl, full bool) {
		before := bytes.Clone(raw)
		p, err := decode(raw)
		if err != nil {
			return
		}
		mode, port := Proxy, uint16(portServer)
		if full {
			mode = Full
		} else if binl {
			port = portBINL
		}
		from := netip.MustParseAddrPort("10.77.0.101:68")
		a := answerTo(read(p, "eth0", from, port), mode)
		again := answerTo(read(p, "eth0", from, port), mode)
		if !bytes.Equal(a.raw, again.raw) || a.to != again.to || a.text != again.text || !bytes.Equal(raw, before) {
			t.Fatal("the answer depends on something else, or changed the packet")
		}
		if a.text == "" || strings.ContainsAny(a.text, "\n\x00") {
			t.Fatalf("said %q", a.text)
		}
		if a.raw == nil {
			return
		}
		back, err := dhcpv4.FromBytes(a.raw)
		if err != nil || back.TransactionID != p.TransactionID || len(a.raw) > maxLength(p) || len(a.raw) < minMessage {
			t.Fatalf("answer of %d bytes: %v", len(a.raw), err)
		}
	})
}

func FuzzOffered(f *testing.F) {
	discover, err := dhcpv4.FromBytes(made[0].raw)
	if err != nil {
		f.Fatal(err)
	}
	q, err := parse(made[0].raw, "eth0", nobody, portServer)
	if err != nil {
		f.Fatal(err)
	}
	offer := answerTo(q, Full)
	f.Add(wire.UDP4(machine, wire.Broadcast, netip.AddrPortFrom(us.addr, portServer), offer.to, offer.raw))
	f.Add(wire.UDP4(machine, wire.Broadcast, netip.AddrPortFrom(us.addr, portServer), nobody, made[0].raw))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if server, ok := offered(raw, discover); ok && !server.Is4() {
			t.Fatalf("an offer of %v", server)
		}
	})
}
