//go:build qemu

package main

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot/nettest"
	"golang.org/x/sys/unix"
)

var recordSix = flag.Bool("record", false, "boot all ways of IPv6, and write what UEFI sends by DHCPv6 to boot/appliance/dhcp6/testdata")

// UEFI machines boot by PXE over IPv6: where our own DHCPv6 answers, and where
// another's names the file that we serve. The agent then finds us by IPv4. What
// differs little from the first is booted with -record alone, for it takes half
// a minute each.
func TestQEMUIPv6(t *testing.T) {
	const own = `, {net: "fd00:77::/64", pool: "fd00:77::100-fd00:77::1ff"}`
	for _, tt := range []struct{ name, board, six, file string }{
		{name: "own", board: "qemu-x86_64", six: own, file: "qemu-x86_64/bootlace.efi"},
		{name: "own-arm64", board: "qemu-arm64", six: own, file: "qemu-arm64/bootlace.efi"},
		{name: "dnsmasq", board: "qemu-x86_64", file: "qemu-x86_64/bootlace.efi"},
	} {
		if tt.name != "own" && !*recordSix {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			b, _ := board.ByName(tt.board)
			if err := lab.Missing(b, lab.UEFI); err != nil {
				nettest.Skip(t, err.Error())
			}
			l := newCable(t)
			add := exec.Command(nettest.Need(t, "ip"), "-n", l.ns.Name, "addr", "add", "fd00:77::1/64", "dev", "tap0", "nodad")
			if err := output(add); err != nil {
				t.Fatal(err)
			}
			if tt.six == "" {
				other := l.ns.Command(t, nettest.Need(t, "dnsmasq"), "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--leasefile-ro",
					"--enable-ra", "--dhcp-range=fd00:77::100,fd00:77::1ff,64,1h", "--dhcp-option=option6:bootfile-url,tftp://[fd00:77::1]/firmware/"+tt.file)
				other.Stderr = t.Output()
				if err := other.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					other.Process.Kill()
					other.Wait()
				})
			}
			l.start(t, "log: json\ndhcp:\n  mode: full\n  subnets: [{net: 10.77.0.0/24, pool: "+machinePool+"}"+tt.six+"]\n")
			l.serving(t)
			time.Sleep(4 * time.Second) // until it has listened for other routers: this is not its first second

			var said sixSaid
			see := said.see
			l.frame.Store(&see)
			vm, err := lab.Start(t.Context(), lab.Machine{
				Board: b, Firmware: lab.UEFI, UUID: "11223344-5566-7788-99aa-bbccddeeff00",
				NICs: []lab.NIC{{End: l.end, MAC: "52:54:00:12:34:56", BootIndex: 1}},
				Args: []string{"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"},
			})
			started(t, vm, err)
			wait(t, vm, `^bootlace agent \S+ `+tt.board+`$`)
			wait(t, vm, `bootlace: waiting: `)
			vm.Kill()
			l.frame.Store(nil)

			var texts []string
			events, _ := l.since(0)
			for _, ev := range events {
				if !strings.HasPrefix(ev.File, "plan/") {
					texts = append(texts, ev.Text)
				}
			}
			journal, asked := strings.Join(texts, "\n"), strings.Join(said.all(), "\n")
			t.Logf("by DHCPv6 the machine said:\n%s\nthe appliance's journal:\n%s", asked, journal)
			for _, want := range []string{"tftp: sent firmware/" + tt.file, "REQUEST from bootlace"} {
				if !strings.Contains(journal, want) {
					t.Errorf("no %q", want)
				}
			}
			if tt.six != "" && !strings.Contains(journal, "REQUEST from uefi-pxe") {
				t.Error("it has its boot file from elsewhere")
			}
			for _, no := range []string{"DISCOVER from uefi", "DISCOVER from ipxe"} {
				if strings.Contains(journal, no) {
					t.Errorf("%s: it boots by IPv4", no)
				}
			}
			if *recordSix && tt.six != "" {
				said.keep(t, map[string]string{"own": "ovmf", "own-arm64": "aavmf"}[tt.name])
			}
		})
	}
}

// sixSaid collects the DHCPv6 messages that a machine sends.
type sixSaid struct {
	mu       sync.Mutex
	messages [][]byte
}

func (s *sixSaid) see(f []byte) {
	const udpAt = 14 + 40
	if len(f) < udpAt+8 || f[12] != 0x86 || f[13] != 0xdd || f[20] != unix.IPPROTO_UDP || u16(f[udpAt+2:]) != 547 {
		return
	}
	end := min(udpAt+int(u16(f[udpAt+4:])), len(f))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, append([]byte(nil), f[udpAt+8:end]...))
}

// all says of each its type and the codes of its options.
func (s *sixSaid) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, m := range s.messages {
		text := fmt.Sprintf("type %d, options", m[0])
		for o := m[4:]; len(o) >= 4; {
			text += fmt.Sprintf(" %d", u16(o))
			o = o[min(4+int(u16(o[2:])), len(o)):]
		}
		all = append(all, text)
	}
	return all
}

// keep writes one file a kind: a message is of the firmware's IPv6 stack
// itself, or of PXE, which says its architecture (option 61).
func (s *sixSaid) keep(t *testing.T, name string) {
	t.Helper()
	kinds := map[byte]string{1: "solicit", 3: "request", 8: "release"}
	for _, m := range s.messages {
		kind := kinds[m[0]]
		if kind == "" {
			t.Errorf("it sent a message of type %d", m[0])
			continue
		}
		file := name + "-stack-" + kind
		if strings.Contains(string(m), "\x00\x3d\x00\x02") {
			file = name + "-pxe-" + kind
		}
		text := fmt.Sprintf("# EDK2 in QEMU (Debian ovmf and qemu-efi-aarch64), recorded by TestQEMUIPv6\n# from [fe80::5054:ff:fe12:3456]:546 to port 547\n%s", hex.Dump(m))
		if err := os.WriteFile(filepath.Join("../../boot/appliance/dhcp6/testdata", file+".hex"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func u16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
