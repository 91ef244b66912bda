package nettest

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Golden compares with a golden file, or with -update writes it.
func Golden(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A Packet is a UDP message that was recorded.
type Packet struct {
	Raw  []byte
	From netip.AddrPort
	Port uint16 // to which it was sent
}

// Format writes a packet as ReadPacket reads it. A comment says what sent it,
// another from where to where. A dump follows.
func (p Packet) Format(about string) string {
	return fmt.Sprintf("# %s\n# from %s to port %d\n%s", about, p.From, p.Port, hex.Dump(p.Raw))
}

// ReadPacket reads a recorded packet.
func ReadPacket(t testing.TB, path string) (p Packet) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if origin, ok := strings.CutPrefix(line, "# from "); ok {
			var addr string
			if _, err := fmt.Sscanf(origin, "%s to port %d", &addr, &p.Port); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			p.From = netip.MustParseAddrPort(addr)
		}
		if len(line) < 10 || line[0] == '#' {
			continue
		}
		bytes, _, _ := strings.Cut(line[10:], "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(bytes), ""))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		p.Raw = append(p.Raw, b...)
	}
	return p
}
