//go:build qemu

package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

var record = flag.Bool("record", false, "write what the firmware sent to testdata")

// Real firmware gets as far as asking for its boot file by TFTP, in both modes.
// It takes about a minute and a half: go test -tags qemu -run TestQEMU.
func TestQEMUFirmware(t *testing.T) {
	nettest.NeedRoot(t)
	const ovmf = "/usr/share/ovmf/OVMF.fd"
	for _, c := range []struct {
		name, about string
		args        []string
		file        string
	}{
		{"ipxe", "SeaBIOS and QEMU's iPXE ROM (Debian ipxe-qemu)", nil, "boot.ipxe"},
		{"ipxe-efi", "OVMF and QEMU's iPXE ROM, whose EFI driver does DHCP itself", []string{"-bios", ovmf}, "boot.ipxe"},
		{"ovmf", "OVMF (Debian ovmf) without a ROM on the card: EDK2's own PXE", []string{"-bios", ovmf, "-global", "virtio-net-pci.romfile="}, "bootlace.efi"},
	} {
		for _, mode := range []Mode{Full, Proxy} {
			t.Run(c.name+"-"+string(mode), func(t *testing.T) {
				hosts := lan(t, ours+"/24", "10.77.0.2/24", "")
				server, other, bench := hosts[0], hosts[1], hosts[2]
				var s *running
				if mode == Full {
					leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
					s = serve(t, server, Full, leases)
				} else {
					s = serve(t, server, Proxy, nil)
					dnsmasq(t, other, "--dhcp-range=10.77.0.50,10.77.0.60,1h", "--no-ping")
				}
				var tftp *net.UDPConn
				server.Do(t, func() {
					var err error
					if tftp, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 69}); err != nil {
						t.Fatal(err)
					}
				})
				defer tftp.Close()
				pcap := filepath.Join(t.TempDir(), "pcap")
				stop := boots(t, bench, pcap, c.args...)
				start := time.Now()
				tftp.SetReadDeadline(start.Add(60 * time.Second))
				buf := make([]byte, 1500)
				n, from, err := tftp.ReadFromUDPAddrPort(buf)
				stop()
				if err != nil {
					t.Fatalf("asked for no file: %v; noted:\n%s", err, s.noted())
				}
				name, _, _ := strings.Cut(string(buf[2:n]), "\x00")
				t.Logf("asked for %s from %s after %.1f s; noted:\n%s", name, from.Addr(), time.Since(start).Seconds(), s.noted())
				if name != c.file {
					t.Errorf("asked for %q, want %q", name, c.file)
				}
				if s.sawAt(machine) != from.Addr() {
					t.Errorf("seen at %v, is at %v", s.sawAt(machine), from.Addr())
				}
				if *record {
					keep(t, pcap, c.name+"-"+string(mode), c.about)
				}
			})
		}
	}
}

// boots starts a machine with its card on a namespace's link.
func boots(t *testing.T, ns *nettest.NS, pcap string, args ...string) (stop func()) {
	t.Helper()
	for _, line := range []string{
		"tuntap add tap0 mode tap", "link add br0 type bridge forward_delay 0", "link set br0 up",
		"link set tap0 master br0 up", "link set eth0 master br0",
	} {
		cmd := exec.Command(nettest.Need(t, "ip"), append([]string{"-n", ns.Name}, strings.Fields(line)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	cmd := ns.Command(t, nettest.Need(t, "qemu-system-x86_64"), append([]string{
		"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-nographic", "-serial", "none", "-monitor", "none",
		"-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no,vnet_hdr=off", "-device", "virtio-net-pci,netdev=n,mac=" + net.HardwareAddr(machine[:]).String(),
		"-object", "filter-dump,id=dump,netdev=n,file=" + pcap,
		"-uuid", "11223344-5566-7788-99aa-bbccddeeff00", "-boot", "n",
	}, args...)...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// keep writes the DHCP messages that the machine sent, one file each.
func keep(t *testing.T, pcap, name, about string) {
	t.Helper()
	raw, err := os.ReadFile(pcap)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for raw = raw[24:]; len(raw) >= 16; { // https://wiki.wireshark.org/Development/LibpcapFileFormat
		n := int(binary.LittleEndian.Uint32(raw[8:]))
		frame := raw[16:min(16+n, len(raw))]
		raw = raw[16+len(frame):]
		for _, port := range []uint16{portServer, portBINL} {
			payload, from, err := unframe(frame, port)
			if err != nil {
				continue
			}
			p, err := parse(payload)
			if err != nil {
				continue
			}
			file := fmt.Sprintf("%s-%s-%d", name, strings.ToLower(p.MessageType().String()), port)
			if seen[file] {
				continue
			}
			seen[file] = true
			text := fmt.Sprintf("# %s, recorded in QEMU\n# from %s to port %d\n%s", about, from, port, hex.Dump(payload))
			if err := os.WriteFile(filepath.Join("testdata", file+".hex"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
