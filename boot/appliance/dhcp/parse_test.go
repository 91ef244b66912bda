package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestUserClass(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"none", "", ""},
		{"iPXE's", "iPXE", "iPXE"},
		{"by RFC 3004", "\x04iPXE", "iPXE"},
		{"the agent's", "\x08bootlace", "bootlace"},
		{"the text alone", "bootlace", "bootlace"},
		{"two", "\x08bootlace\x03two", "bootlace"},
		{"of no length", "\x00", "\x00"},
		{"cut short", "\x09bootlace", "\x09bootlace"},
		{"the second cut short", "\x08bootlace\x0atruncated", "\x08bootlace\x0atruncated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := userClass([]byte(tt.in)); got != tt.want {
				t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	q := requestOf(t, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "\x04iPXE"), relayed)...))
	if q.MAC != (boot.MAC{2, 0, 0, 0, 0, 1}) || q.Traits.Client != board.ClientBIOS || q.Traits.UserClass != "iPXE" ||
		q.UUID == nil || string(q.UUID[:]) != "abcdefghijklmnop" || q.Circuit != "Gi1/0/7" || q.Relay.String() != "10.77.0.254" ||
		q.Board == "" || q.Loader == nil || q.Loader.Name != "ipxe" {
		t.Errorf("read %+v", q.Request)
	}
	q = requestOf(t, message(dhcpv4.MessageTypeDiscover, option(97, "\x00"+strings.Repeat("\xff", 16)), option(82, "\x01\x02\x00\x07")))
	if q.UUID != nil || q.Circuit != "0007" || q.Traits.Client != board.ClientUnknown || q.Boots() {
		t.Errorf("read %+v", q.Request)
	}
}

// Options may overflow into the fields of the file and the server's name.
func TestOverload(t *testing.T) {
	raw := message(dhcpv4.MessageTypeDiscover, option(52, "\x03"))
	copy(raw[fileAt:], "\x4d\x04iPXE\xff")
	copy(raw[snameAt:], "\x3c\x09PXEClient\x5d\x02\x00\x07\xff")
	if q := requestOf(t, raw); q.Traits.UserClass != "iPXE" || q.Traits.VendorClass != "PXEClient" || q.Traits.Client != board.ClientUEFIx64 {
		t.Errorf("read %+v", q.Traits)
	}
}

func TestDecodeErrors(t *testing.T) {
	set := func(at int, b ...byte) func([]byte) []byte {
		return func(raw []byte) []byte { copy(raw[at:], b); return raw }
	}
	for _, tt := range []struct {
		name, want string
		change     func([]byte) []byte
	}{
		{"empty", "no DHCP message", func([]byte) []byte { return nil }},
		{"short", "no DHCP message", func(raw []byte) []byte { return raw[:100] }},
		{"no cookie", "BOOTP", set(cookieAt, 0, 0, 0, 0)},
		{"no type", "BOOTP", set(optionsAt, 0, 0, 0, 0, 0, 0, 255)},
		{"reply", "op 2", set(0, 2)},
		{"InfiniBand", "hardware type 32", set(1, 32)},
		{"long address", "16 bytes", set(2, 16)},
		{"group address", "nobody's address", set(28, 1)},
		{"no address", "nobody's address", set(28, 0, 0, 0, 0, 0, 0)},
		{"option past the end", "option", set(optionsAt+6, append([]byte{60, 255}, bytes.Repeat([]byte{1}, 60)...)...)},
		{"option past file", "options in file", set(fileAt, 60, 200)},
		{"option past sname", "options in sname", set(snameAt, 60, 200)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := tt.change(message(dhcpv4.MessageTypeDiscover, option(52, "\x03")))
			if _, err := decode(raw); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
}

// giaddr is where the answer goes: it must be a machine's address.
func TestRelayAddress(t *testing.T) {
	for _, tt := range []struct {
		addr  string
		relay bool
	}{
		{"10.77.0.254", true}, {"192.0.2.1", true}, {"223.255.255.254", true},
		{"255.255.255.255", false}, {"224.0.0.1", false}, {"127.0.0.1", false},
		{"0.0.0.7", false}, {"240.0.0.1", false}, {"169.254.1.1", false},
	} {
		t.Run(tt.addr, func(t *testing.T) {
			_, err := decode(message(dhcpv4.MessageTypeDiscover, dhcpv4.WithRelay(net.ParseIP(tt.addr))))
			if (err == nil) != tt.relay {
				t.Errorf("as giaddr: %v", err)
			}
		})
	}
}

// Options may be as long as the packet. What is kept of them, and what is said
// again, is not.
func TestLongOptions(t *testing.T) {
	for _, code := range []uint8{61, 82, 97} {
		for _, n := range []int{255, 256, 1000, 3700} {
			t.Run(fmt.Sprintf("option %d of %d bytes", code, n), func(t *testing.T) {
				value := strings.Repeat("\x01", n)
				if code == 82 { // circuit IDs, which are joined too
					value = strings.Repeat("\x01\x64"+strings.Repeat("c", 100), n/102)
				}
				q := requestOf(t, message(dhcpv4.MessageTypeDiscover, append(rom, option(77, "iPXE"), option(code, value))...))
				if len(q.clientID()) > 255 || len(q.Circuit) > 2*255 {
					t.Errorf("an identifier of %d and a circuit of %d are kept", len(q.clientID()), len(q.Circuit))
				}
				if a := answerTo(q, Full); len(a.raw) > maxLength(q.DHCPv4) || a.raw == nil {
					t.Errorf("answered with %d, want at most %d", len(a.raw), maxLength(q.DHCPv4))
				}
			})
		}
	}
}
