//go:build qemu

package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/ra"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/wire"
	"github.com/pin/tftp/v3"
)

var record = flag.Bool("record", false, "write what the firmware sent to testdata")

// A firmware is started in QEMU and gets as far as asking for its boot file.
type firmware struct {
	name, about string
	board       string // whose QEMU it runs in
	uefi        bool
	args        []string
	modes       []Mode
	files       []string // what it asks for, in order, where none but UNDI is there
}

var (
	both = []Mode{Full, Proxy}
	full = []Mode{Full}
)

var firmwares = []firmware{
	{name: "ipxe", about: "SeaBIOS and QEMU's iPXE ROM (Debian ipxe-qemu)", board: "qemu-x86_64", modes: both, files: []string{"boot.ipxe"}},
	{name: "ipxe-e1000", about: "SeaBIOS and QEMU's iPXE ROM for an e1000", board: "pc-x86_64", modes: full, files: []string{"boot.ipxe"}},
	{name: "undionly", about: "SeaBIOS, then undionly.kpxe (Debian ipxe) on the ROM's UNDI driver", board: "qemu-x86_64", modes: full, files: []string{board.UNDI, "boot.ipxe"}},
	{name: "ipxe-efi", about: "OVMF and QEMU's iPXE ROM, whose EFI driver does DHCP itself", board: "qemu-x86_64", uefi: true, modes: full, files: []string{"boot.ipxe"}},
	{name: "ovmf", about: "OVMF (Debian ovmf) without a ROM on the card: EDK2's own PXE", board: "qemu-x86_64", uefi: true,
		args: []string{"-global", "virtio-net-pci.romfile="}, modes: both, files: []string{"bootlace.efi"}},
	{name: "ovmf-http", about: "OVMF, UEFI HTTP Boot", board: "qemu-x86_64", uefi: true, modes: both, files: []string{"http bootlace.efi"},
		args: []string{"-global", "virtio-net-pci.romfile=", "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"}},
	{name: "aavmf", about: "AAVMF (Debian qemu-efi-aarch64): EDK2's own PXE", board: "qemu-arm64", uefi: true,
		args: []string{"-global", "virtio-net-pci.romfile="}, modes: full, files: []string{"bootlace.efi"}},
	// In proxy mode it asks whom the other server names: it takes no offer
	// without an address.
	{name: "uboot-arm64", about: "U-Boot 2023.01 (Debian u-boot-qemu, qemu_arm64)", board: "qemu-arm64", modes: full, files: []string{"boot.scr.uimg", "bootlace.efi"}},
	{name: "uboot-arm", about: "U-Boot 2023.01 (Debian u-boot-qemu, qemu_arm)", board: "qemu-arm", modes: full, files: []string{"boot.scr.uimg", "bootlace.efi"}},
}

// Real firmware gets as far as asking for its boot files, each by the name we
// told it. Run it by go test -tags qemu -run TestQEMU [-record]. In full mode it
// is for the record alone. The matrix of cmd/mkboot boots all of them so.
func TestQEMUFirmware(t *testing.T) {
	nettest.NeedRoot(t)
	for _, f := range firmwares {
		for _, mode := range f.modes {
			if mode == Full && !*record {
				continue
			}
			t.Run(f.name+"-"+string(mode), func(t *testing.T) {
				hosts := nettest.LAN(t, ours+"/24", "10.77.0.2/24", "")
				server, other, bench := hosts[0], hosts[1], hosts[2]
				asked := serveFiles(t, server)
				var undi atomic.Bool
				var s *running
				if mode == Full {
					leases, _ := leasesAt(t, filepath.Join(t.TempDir(), "db"), lab)
					s = serveOn(t, server, "eth0", Full, leases, f.reply(&undi))
					answerSolicitations(t, server)
				} else {
					s = serveOn(t, server, "eth0", Proxy, nil, f.reply(&undi))
					other.IP(t, "addr", "add", "fd00:77::2/64", "dev", "eth0", "nodad")
					other.Dnsmasq(t, "--dhcp-range=10.77.0.50,10.77.0.60,1h", "--no-ping", "--enable-ra", "--dhcp-range=::,constructor:eth0,ra-only")
				}
				pcap := filepath.Join(t.TempDir(), "pcap")
				stop := f.boots(t, bench, pcap)
				start := time.Now()
				var got []string
				for timeout := time.After(5 * time.Minute); len(got) < len(f.files); {
					select {
					case a := <-asked:
						t.Logf("asked for %s after %.1f s", a, time.Since(start).Seconds())
						got = append(got, a)
						undi.Store(true)
						continue
					case <-timeout:
					}
					break
				}
				stop()
				if !slices.Equal(got, f.files) {
					t.Errorf("asked for %q, want %q", got, f.files)
				}
				t.Logf("noted:\n%s", s.noted())
				if *record {
					keep(t, pcap, f.name+"-"+string(mode), f.about)
				}
			})
		}
	}
}

// answerSolicitations runs what spares iPXE the wait for an IPv6 router. It
// returns when that has listened for others.
func answerSolicitations(t *testing.T, ns *nettest.NS) {
	t.Helper()
	r := &ra.Server{Interface: "eth0", Log: slog.New(slog.DiscardHandler)}
	var err error
	ns.Do(t, func() { err = r.Listen() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	time.Sleep(ra.DefaultTiming.Listen)
}

// reply is the first of a loader's files. Where UNDI is tested, who asks first
// gets that. QEMU's cards have no ROM but iPXE's, which is then treated like one.
func (f firmware) reply(undi *atomic.Bool) func(boot.Request) (boot.BootInfo, error) {
	return func(r boot.Request) (boot.BootInfo, error) {
		info, err := firstFile(r)
		if f.files[0] == board.UNDI && !undi.Load() {
			info.Bootfile = board.UNDI
		}
		return info, err
	}
}

// serveFiles answers TFTP and HTTP in a namespace and tells what was asked for.
func serveFiles(t *testing.T, ns *nettest.NS) <-chan string {
	t.Helper()
	asked := make(chan string, 100)
	var conn *net.UDPConn
	var l net.Listener
	var err error
	ns.Do(t, func() {
		if conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 69}); err == nil {
			l, err = net.Listen("tcp4", ":80")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := tftp.NewServer(func(name string, rf io.ReaderFrom) error {
		asked <- name
		if name != board.UNDI {
			return errors.New("file not found")
		}
		f, err := os.Open("/usr/lib/ipxe/undionly.kpxe")
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = rf.ReadFrom(f)
		return err
	}, nil)
	s.EnableSinglePort() // its answers leave by conn, in the namespace
	go s.Serve(conn)
	t.Cleanup(s.Shutdown)
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- "http " + strings.TrimPrefix(r.URL.Path, "/")
		http.NotFound(w, r)
	})}
	go h.Serve(l)
	t.Cleanup(func() { h.Close() })
	return asked
}

// boots starts a machine with its card on a namespace's link.
func (f firmware) boots(t *testing.T, ns *nettest.NS, pcap string) (stop func()) {
	t.Helper()
	for _, line := range []string{
		"tuntap add tap0 mode tap", "link add br0 type bridge forward_delay 0", "link set br0 up",
		"link set tap0 master br0 up", "link set eth0 master br0",
	} {
		ns.IP(t, strings.Fields(line)...)
	}
	command, args := f.qemu(t, pcap)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, nettest.Need(t, "ip"), append([]string{"netns", "exec", ns.Name, command}, args...)...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			console, _ := os.ReadFile(pcap + ".console")
			t.Logf("console: %s", console)
		}
	}
	t.Cleanup(cancel)
	return stop
}

// qemu is how QEMU is started for it.
func (f firmware) qemu(t *testing.T, pcap string) (command string, args []string) {
	t.Helper()
	b, ok := board.ByName(f.board)
	if !ok || b.QEMU == nil {
		t.Fatalf("no board %s in QEMU", f.board)
	}
	arch, ok := board.ArchOf(b.Arch)
	if !ok {
		t.Fatalf("no architecture %s", b.Arch)
	}
	args = append(slices.Clone(b.QEMU.Args),
		"-nodefaults", "-display", "none", "-serial", "file:"+pcap+".console",
		"-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no,vnet_hdr=off",
		"-device", b.QEMU.NIC+",netdev=n,bootindex=1,mac="+net.HardwareAddr(machine[:]).String(),
		"-object", "filter-dump,id=dump,netdev=n,file="+pcap,
		"-uuid", "11223344-5566-7788-99aa-bbccddeeff00")
	switch {
	case f.uefi:
		blank, err := os.ReadFile(b.QEMU.UEFIVars)
		if err != nil {
			nettest.Skip(t, "no UEFI firmware: "+err.Error())
		}
		if err := os.WriteFile(pcap+".vars", blank, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+b.QEMU.UEFI,
			"-drive", "if=pflash,unit=1,format=raw,file="+pcap+".vars")
	case b.QEMU.UBoot != "":
		if _, err := os.Stat(b.QEMU.UBoot); err != nil {
			nettest.Skip(t, "no U-Boot: "+err.Error())
		}
		args = append(args, "-bios", b.QEMU.UBoot)
	}
	return nettest.Need(t, arch.QEMU), append(args, f.args...)
}

// keep writes the DHCP messages that the machine sent, one file a kind.
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
			payload, from, err := wire.ParseUDP4(frame, port)
			if err != nil {
				continue
			}
			q, err := parse(payload, "eth0", from, port)
			if err != nil {
				continue
			}
			file := fmt.Sprintf("%s-%s-%d", name, strings.ToLower(q.MessageType().String()), port)
			if q.Loader != nil && q.Loader.Name == "uboot-efi" {
				file = strings.Replace(file, "uboot-", "uboot-efi-", 1)
			}
			if seen[file] {
				continue
			}
			seen[file] = true
			text := nettest.Packet{Raw: payload, From: from, Port: port}.Format(about + ", recorded in QEMU")
			if err := os.WriteFile(filepath.Join("testdata", file+".hex"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
