package appliance

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/limit"
)

// newWithFiles makes an appliance without profiles, with these files in its
// root.
func newWithFiles(t *testing.T, files ...string) *Appliance {
	t.Helper()
	cfg := &config.Config{
		Root: t.TempDir(), State: t.TempDir(), Interface: []string{"lo"}, DHCP: dhcp.Config{Mode: dhcp.Off},
		Listen: map[string]string{"tftp": "127.0.0.1:0", "http": "127.0.0.1:0"},
	}
	for _, name := range files {
		path := filepath.Join(cfg.Root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte("the file "+name))
	}
	a, err := New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	// URLs need fixed ports.
	a.urls.listen = map[string]string{"tftp": ":69", "http": ":80"}
	return a
}

func firmwareFiles(boards ...string) (files []string) {
	for _, name := range boards {
		b, _ := board.ByName(name)
		files = append(files, b.File(board.Kernel), b.File(board.Initramfs), b.File(board.UKI))
	}
	return files
}

// dhcpRequest sends a DHCP request for a machine and returns the answer.
func (a *Appliance) dhcpRequest(t *testing.T, from netip.Addr, traits board.Traits) boot.BootInfo {
	t.Helper()
	r := boot.NewRequest(traits, boot.MAC(traits.MAC))
	r.Interface, r.Server = "lo", netip.MustParseAddr("127.0.0.1")
	infos := &bootInfos{machines: a.machines, urls: a.urls}
	info, err := infos.decide(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	a.machines.recordAddr(r.MAC, from)
	return info
}

// fetch returns a file's content for a client, "" where there is none.
func (a *Appliance) fetch(t *testing.T, from netip.Addr, name string) string {
	t.Helper()
	f, err := a.tree.Open(t.Context(), files.Client{Addr: from, Via: "tftp"}, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const pxe = "PXEClient:Arch:00000:UNDI:002001"

var (
	machineAddr = netip.MustParseAddr("127.0.0.7")
	intel       = []byte{0, 0x1b, 0x21, 1, 2, 3}
	virtio      = []byte{0x52, 0x54, 0, 1, 2, 3}
	uboot       = []byte{0x52, 0x52, 0x52, 0x52, 0x52, 0x52}
)

// A loader gets the first of its boot files that exists. Without its board's
// firmware it gets that of the board's stand-in.
func TestBootfile(t *testing.T) {
	efi := board.Traits{Client: board.ClientUEFIx64, VendorClass: pxe, MAC: virtio}
	http := board.Traits{Client: board.ClientHTTPx64, VendorClass: "HTTPClient:Arch:00016:UNDI:003001", MAC: virtio}
	rom := board.Traits{Client: board.ClientBIOS, VendorClass: pxe, MAC: intel}
	ipxe := board.Traits{Client: board.ClientBIOS, VendorClass: pxe, UserClass: "iPXE", NIC: 0x8086, MAC: virtio}
	arm := board.Traits{Client: board.ClientUBootArm64, VendorClass: "U-Boot.armv8", MAC: uboot}
	pi := board.Traits{Client: board.ClientBIOS, VendorClass: pxe, GUID: []byte("RPi5"), MAC: []byte{0xd8, 0x3a, 0xdd, 1, 2, 3}}
	for _, tt := range []struct {
		name   string
		files  []string
		traits board.Traits
		want   string
		board  string
	}{
		{"UEFI", firmwareFiles("qemu-x86_64", "pc-x86_64"), efi, "firmware/qemu-x86_64/bootlace.efi", "qemu-x86_64"},
		{"UEFI, a PC's firmware alone", firmwareFiles("pc-x86_64"), efi, "firmware/pc-x86_64/bootlace.efi", "pc-x86_64"},
		{"our agent from elsewhere", firmwareFiles("pc-x86_64"), board.Traits{Client: board.ClientUEFIx64, UserClass: board.AgentUserClass,
			VendorClass: board.AgentVendorPrefix + "qemu-x86_64", MAC: virtio}, "", "qemu-x86_64"},
		{"UEFI, no firmware", nil, efi, "", "qemu-x86_64"},
		{"UEFI HTTP", firmwareFiles("qemu-x86_64"), http, "http://127.0.0.1/firmware/qemu-x86_64/bootlace.efi", "qemu-x86_64"},
		{"PXE ROM", append(firmwareFiles("pc-x86_64"), "firmware/pc-x86_64/undionly.kpxe", "firmware/pc-x86_64/pxelinux.0"), rom, "firmware/pc-x86_64/undionly.kpxe", "pc-x86_64"},
		{"PXE ROM, pxelinux", append(firmwareFiles("pc-x86_64"), "firmware/pc-x86_64/pxelinux.0"), rom, "firmware/pc-x86_64/pxelinux.0", "pc-x86_64"},
		{"PXE ROM, neither", firmwareFiles("pc-x86_64"), rom, "", "pc-x86_64"},
		{"iPXE", firmwareFiles("qemu-x86_64", "pc-x86_64"), ipxe, "boot.ipxe/52-54-00-01-02-03", "pc-x86_64"},
		{"U-Boot", firmwareFiles("qemu-arm64"), arm, "boot.scr.uimg", "qemu-arm64"},
		{"a Pi that has nothing to boot", firmwareFiles("rpi4"), pi, "", "rpi5"},
		{"a Pi", []string{"firmware/rpi5/config.txt"}, pi, "firmware/rpi5/config.txt", "rpi5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newWithFiles(t, tt.files...)
			r := a.dhcpRequest(t, machineAddr, tt.traits)
			f, _ := a.machines.facts.Get(boot.MAC(tt.traits.MAC))
			if r.Bootfile != tt.want || f.Board != tt.board {
				t.Errorf("%s: %q on %s, want %q on %s", tt.name, r.Bootfile, f.Board, tt.want, tt.board)
			}
		})
	}
}

// iPXE's script names the firmware for the machine that asks.
func TestIPXEScript(t *testing.T) {
	a := newWithFiles(t, firmwareFiles("qemu-x86_64", "pc-x86_64", "arm64")...)
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientBIOS, UserClass: "iPXE", MAC: intel})
	for name, want := range map[string]string{
		"boot.ipxe/00-1b-21-01-02-03": "kernel http://127.0.0.1/firmware/pc-x86_64/vmlinuz ",
		"boot.ipxe/00-1b-21-09-09-09": " || kernel tftp://127.0.0.1/firmware/pc-x86_64/vmlinuz initrd=initramfs.cpio.zst console=", // an unknown MAC
		"boot.ipxe":                   "chain --autofree boot.ipxe/${netX/mac:hexhyp}",
	} {
		t.Run(name, func(t *testing.T) {
			if got := a.fetch(t, machineAddr, name); !strings.HasPrefix(got, "#!ipxe\n") || !strings.Contains(got, want) {
				t.Errorf("%s: %q", name, got)
			}
		})
	}
	only := newWithFiles(t, firmwareFiles("qemu-x86_64")...)
	if got := only.fetch(t, machineAddr, "boot.ipxe/00-1b-21-09-09-09"); !strings.Contains(got, "firmware/qemu-x86_64/vmlinuz") {
		t.Errorf("the only firmware that there is: %q", got)
	}
}

func TestUBootScript(t *testing.T) {
	a := newWithFiles(t, firmwareFiles("qemu-arm64", "qemu-arm")...)
	text := func(from netip.Addr, name string) string {
		t.Helper()
		got := a.fetch(t, from, name)
		return got[min(72, len(got)):] // after the header
	}
	if got := text(machineAddr, "boot.scr.uimg"); got != "tftpboot ${scriptaddr} boot.scr.uimg/${ethaddr} && source ${scriptaddr}\n" {
		t.Errorf("for a machine that nobody knows: %s", got)
	}
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientUBootArm64, VendorClass: "U-Boot.armv8", MAC: uboot})
	for _, name := range []string{"boot.scr.uimg", "/boot.scr.uimg", "boot.scr.uimg/52:52:52:52:52:52"} {
		got := text(machineAddr, name)
		for _, want := range []string{
			"setenv serverip 127.0.0.1\n",
			"console=ttyAMA0,115200 consoleblank=0 panic=10 bootlace.server=127.0.0.1'\n",
			"tftpboot ${kernel_addr_r} firmware/qemu-arm64/vmlinuz && tftpboot ${ramdisk_addr_r} firmware/qemu-arm64/initramfs.cpio.zst; then booti ",
			"\nif pxe get; then pxe boot; fi\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", name, want, got)
			}
		}
		if strings.Contains(got, "boot_targets") {
			t.Errorf("%s: it is sent to its disk:\n%s", name, got)
		}
	}
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientUBootArm, VendorClass: "U-Boot.armv7", MAC: uboot})
	if got := text(machineAddr, "boot.scr.uimg"); !strings.Contains(got, "firmware/qemu-arm/vmlinuz") || !strings.Contains(got, "bootz ") {
		t.Errorf("on armv7:\n%s", got)
	}
	m, err := a.machines.registry.Find(t.Context(), boot.MAC(uboot).String())
	if err != nil {
		t.Fatal(err)
	}
	a.machines.policy.Profiles = []*boot.Profile{{Name: "p", Action: boot.ActionLocal}}
	if got := text(machineAddr, "boot.scr.uimg"); !strings.HasPrefix(got, "for t in ${boot_targets};") {
		t.Errorf("%s is to boot its disk:\n%s", m.ID, got)
	}
	a.machines.policy.Profiles[0].Action = boot.ActionIgnore
	if got := a.fetch(t, machineAddr, "boot.scr.uimg"); got != "" {
		t.Errorf("to be ignored:\n%s", got)
	}
	write(t, filepath.Join(a.cfg.Root, "boot.scr.uimg"), []byte("the user's"))
	if got := a.fetch(t, machineAddr, "boot.scr.uimg"); got != "the user's" {
		t.Errorf("the user's own: %q", got)
	}
}

// U-Boot's `pxe get` tries these names in this order. Known and unknown
// machines get different ones.
func TestPxelinux(t *testing.T) {
	a := newWithFiles(t, firmwareFiles("qemu-arm64")...)
	names := []string{
		"11223344-5566-7788-99aa-bbccddeeff00", "01-52-52-52-52-52-52",
		"7F000007", "7F00000", "7F0000", "7F000", "7F00", "7F0", "7F", "7",
		"default-arm-armv8-qemu-arm", "default-arm-armv8", "default-arm", "default",
	}
	answered := func() (list []string) {
		for _, name := range names {
			if a.fetch(t, machineAddr, "pxelinux.cfg/"+name) != "" {
				list = append(list, name)
			}
		}
		return list
	}
	// With only a MAC in the name, the machine counts as a PC. There is no
	// firmware for one.
	if got := answered(); got != nil {
		t.Errorf("for a machine that nobody knows: %q", got)
	}
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientUBootArm64, VendorClass: "U-Boot.armv8", MAC: uboot})
	want := []string{names[0], names[1], "7F000007", "default-arm-armv8-qemu-arm", "default-arm-armv8", "default-arm", "default"}
	if got := answered(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("answered %q, want %q", got, want)
	}
	const config = "DEFAULT bootlace\nPROMPT 0\nLABEL bootlace\nKERNEL firmware/qemu-arm64/vmlinuz\n" +
		"INITRD firmware/qemu-arm64/initramfs.cpio.zst\n" +
		"APPEND console=tty0 console=ttyAMA0,115200 consoleblank=0 panic=10 bootlace.server=127.0.0.1\n"
	if got := a.fetch(t, machineAddr, "pxelinux.cfg/default"); got != config {
		t.Errorf("%s", got)
	}
	// Another client's address does not identify this one.
	if got := a.fetch(t, netip.MustParseAddr("127.0.0.8"), "pxelinux.cfg/7F000007"); got != "" {
		t.Errorf("to another: %s", got)
	}
	a.machines.policy.Profiles = []*boot.Profile{{Name: "p", Action: boot.ActionLocal}}
	if got := a.fetch(t, machineAddr, "pxelinux.cfg/default"); !strings.HasSuffix(got, "LOCALBOOT 0\n") {
		t.Errorf("%s", got)
	}
}

// The files of a Raspberry Pi, in the order of its requests
// (raspberrypi/firmware issue 1041; documentation, "Network booting").
func TestRaspberryPi(t *testing.T) {
	files := append(firmwareFiles("rpi3", "rpi4"), "firmware/rpi3/bootcode.bin", "firmware/rpi3/start.elf", "firmware/rpi3/fixup.dat",
		"firmware/rpi3/bcm2710-rpi-3-b.dtb", "firmware/rpi4/start4.elf", "firmware/rpi4/bcm2711-rpi-4-b.dtb")
	a := newWithFiles(t, files...)
	type row struct{ name, want string }
	const made = "arm_64bit=1\nenable_uart=1\nkernel=vmlinuz\ninitramfs initramfs.cpio.zst followkernel\n"
	ask := func(who string, rows ...row) {
		t.Helper()
		for _, r := range rows {
			t.Run(who+": "+r.name, func(t *testing.T) {
				if got := a.fetch(t, machineAddr, r.name); got != r.want {
					t.Errorf("%s: %s: %q, want %q", who, r.name, got, r.want)
				}
			})
		}
	}
	// Beside another DHCP server we never learn a Pi 3's address.
	ask("Pi 3, unknown",
		row{"bootcode.bin", "the file firmware/rpi3/bootcode.bin"}, row{"bootsig.bin", ""},
		row{"e1ffda08/start.elf", "the file firmware/rpi3/start.elf"}, row{"e1ffda08/autoboot.txt", ""},
		row{"e1ffda08/config.txt", made + "[pi3]\nos_prefix=firmware/rpi3/\n[pi4]\nos_prefix=firmware/rpi4/\n"},
		row{"e1ffda08/recovery.elf", ""}, row{"e1ffda08/fixup.dat", "the file firmware/rpi3/fixup.dat"},
		row{"e1ffda08/firmware/rpi3/vmlinuz", "the file firmware/rpi3/vmlinuz"},
		row{"e1ffda08/firmware/rpi3/initramfs.cpio.zst", "the file firmware/rpi3/initramfs.cpio.zst"},
		row{"e1ffda08/firmware/rpi3/bcm2710-rpi-3-b.dtb", "the file firmware/rpi3/bcm2710-rpi-3-b.dtb"},
		row{"e1ffda08/firmware/rpi3/cmdline.txt", "console=tty0 console=ttyS1,115200 consoleblank=0 panic=10 bootlace.server=127.0.0.1\n"},
	)
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientBIOS, VendorClass: pxe, GUID: []byte("RPi4"), MAC: []byte{0xdc, 0xa6, 0x32, 1, 2, 3}})
	ask("Pi 4",
		row{"9a2f6b1d/config.txt", made + "[pi4]\nos_prefix=firmware/rpi4/\n"},
		row{"9a2f6b1d/pieeprom.sig", ""}, row{"9a2f6b1d/start4.elf", "the file firmware/rpi4/start4.elf"},
		row{"dc-a6-32-01-02-03/start4.elf", "the file firmware/rpi4/start4.elf"},
		row{"9a2f6b1d/start.elf", ""}, row{"9a2f6b1d/firmware/rpi3/cmdline.txt", ""},
		row{"9a2f6b1d/firmware/rpi4/bcm2711-rpi-4-b.dtb", "the file firmware/rpi4/bcm2711-rpi-4-b.dtb"},
	)
	// The user's own files go before made ones.
	for _, own := range []row{{"firmware/rpi4/config.txt", "the board's"}, {"9a2f6b1d/config.txt", "this Pi's"}} {
		path := filepath.Join(a.cfg.Root, own.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte(own.want))
		ask("Pi 4", row{"9a2f6b1d/config.txt", own.want})
	}
	// A machine that is no Pi gets none of these files.
	a.dhcpRequest(t, machineAddr, board.Traits{Client: board.ClientBIOS, VendorClass: pxe, MAC: intel})
	ask("a PC", row{"bootcode.bin", ""}, row{"e1ffda08/start.elf", ""}, row{"config.txt", ""}, row{"vmlinuz", ""})
	// An unknown client gets no board's file by its bare name.
	a.machines.byAddr = limit.NewRecent[netip.Addr, boot.MAC](1)
	ask("unknown", row{"vmlinuz", ""}, row{"start4.elf", ""})
}
