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

var recordDHCPv6 = flag.Bool("record", false, "boot all ways of IPv6, and write what UEFI sends by DHCPv6 to boot/appliance/dhcp6/testdata")

// UEFI machines boot by PXE over IPv6. Either our own DHCPv6 answers, or another
// server names the file that we serve. The agent then finds us by IPv4. Each
// takes half a minute, so only the first runs without -record.
func TestQEMUIPv6(t *testing.T) {
	const own = `, {net: "fd00:77::/64", pool: "fd00:77::100-fd00:77::1ff"}`
	for _, tt := range []struct{ name, board, subnet6, file string }{
		{name: "own", board: "qemu-x86_64", subnet6: own, file: "qemu-x86_64/bootlace.efi"},
		{name: "own-arm64", board: "qemu-arm64", subnet6: own, file: "qemu-arm64/bootlace.efi"},
		{name: "dnsmasq", board: "qemu-x86_64", file: "qemu-x86_64/bootlace.efi"},
	} {
		if tt.name != "own" && !*recordDHCPv6 {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			b, _ := board.ByName(tt.board)
			if err := lab.Missing(b, lab.UEFI); err != nil {
				nettest.Skip(t, err.Error())
			}
			prepare(t)
			l := newCable(t, made.root)
			add := exec.Command(nettest.Need(t, "ip"), "-n", l.ns.Name, "addr", "add", "fd00:77::1/64", "dev", "tap0", "nodad")
			if err := output(add); err != nil {
				t.Fatal(err)
			}
			if tt.subnet6 == "" {
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
			l.start(t, "log: json\ndhcp:\n  mode: full\n  subnets: [{net: 10.77.0.0/24, pool: "+machinePool+"}"+tt.subnet6+"]\n")
			l.serving(t)
			time.Sleep(4 * time.Second) // so that it has listened for other routers

			var said dhcpv6Messages
			see := said.see
			l.frame.Store(&see)
			vm, err := lab.Start(t.Context(), lab.Machine{
				Board: b, Firmware: lab.UEFI, UUID: "11223344-5566-7788-99aa-bbccddeeff00",
				NICs: []lab.NIC{{End: l.end, MAC: "52:54:00:12:34:56", BootIndex: 1}},
				Args: []string{"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"},
			})
			mustStart(t, vm, err)
			wait(t, vm, `^bootlace agent \S+ `+tt.board+`$`)
			wait(t, vm, `bootlace: waiting: `)
			vm.Kill()
			l.frame.Store(nil)

			l.checkIPv6Boot(t, &said, tt.file, tt.subnet6 != "")
			if *recordDHCPv6 && tt.subnet6 != "" {
				said.keep(t, map[string]string{"own": "ovmf", "own-arm64": "aavmf"}[tt.name])
			}
		})
	}
}

// checkIPv6Boot checks by the journal that a machine booted a file by IPv6. own means
// that our own DHCPv6 named it.
func (l *lan) checkIPv6Boot(t *testing.T, said *dhcpv6Messages, file string, own bool) {
	t.Helper()
	var texts []string
	events, _ := l.since(0)
	for _, ev := range events {
		if !strings.HasPrefix(ev.File, "plan/") {
			texts = append(texts, ev.Text)
		}
	}
	journal, asked := strings.Join(texts, "\n"), strings.Join(said.all(), "\n")
	t.Logf("by DHCPv6 the machine said:\n%s\nthe appliance's journal:\n%s", asked, journal)
	for _, want := range []string{"tftp: sent firmware/" + file, "REQUEST from bootlace"} {
		if !strings.Contains(journal, want) {
			t.Errorf("no %q", want)
		}
	}
	if own && !strings.Contains(journal, "REQUEST from uefi-pxe") {
		t.Error("it has its boot file from elsewhere")
	}
	for _, no := range []string{"DISCOVER from uefi", "DISCOVER from ipxe"} {
		if strings.Contains(journal, no) {
			t.Errorf("%s: it boots by IPv4", no)
		}
	}
}

// dhcpv6Messages keeps the DHCPv6 messages that a machine sends.
type dhcpv6Messages struct {
	mu       sync.Mutex
	messages [][]byte
}

func (s *dhcpv6Messages) see(f []byte) {
	const udpAt = 14 + 40
	if len(f) < udpAt+8 || f[12] != 0x86 || f[13] != 0xdd || f[20] != unix.IPPROTO_UDP || u16(f[udpAt+2:]) != 547 {
		return
	}
	end := min(udpAt+int(u16(f[udpAt+4:])), len(f))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, append([]byte(nil), f[udpAt+8:end]...))
}

// all returns the type of each message and the codes of its options.
func (s *dhcpv6Messages) all() []string {
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

// keep writes one file for each kind of message. A message is PXE's if it has an
// architecture (option 61), otherwise that of the firmware's IPv6 stack.
func (s *dhcpv6Messages) keep(t *testing.T, name string) {
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
