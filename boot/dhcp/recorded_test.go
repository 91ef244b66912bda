package dhcp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// unkeep reads a packet of real firmware that keep wrote (qemu_test.go).
func unkeep(t testing.TB, path string) (raw []byte, from netip.AddrPort, port uint16) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if origin, ok := strings.CutPrefix(line, "# from "); ok {
			var addr string
			if _, err := fmt.Sscanf(origin, "%s to port %d", &addr, &port); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			from = netip.MustParseAddrPort(addr)
		}
		if len(line) < 10 || line[0] == '#' {
			continue
		}
		bytes, _, _ := strings.Cut(line[10:], "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(bytes), ""))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		raw = append(raw, b...)
	}
	return raw, from, port
}

// machine is the MAC of the machines that were recorded.
var machine = [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}
