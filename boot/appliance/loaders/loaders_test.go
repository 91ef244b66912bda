package loaders

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
)

// bootOf returns a Boot of a board with all files there.
func bootOf(name string) Boot {
	b, _ := board.ByName(name)
	return Boot{
		Board: b, Server: netip.MustParseAddr("10.0.0.1"), Kernel: true, Initramfs: true,
		Bases: []string{"http://10.0.0.1/", "tftp://10.0.0.1/"},
	}
}

// An iPXE script tries each server for each file. At its end it asks again.
func TestIPXE(t *testing.T) {
	b := bootOf("pc-x86_64")
	want := "#!ipxe\n" +
		"kernel http://10.0.0.1/firmware/pc-x86_64/vmlinuz initrd=initramfs.cpio.zst " + b.Cmdline() +
		" || kernel tftp://10.0.0.1/firmware/pc-x86_64/vmlinuz initrd=initramfs.cpio.zst " + b.Cmdline() + " || goto failed\n" +
		"initrd --name initramfs.cpio.zst http://10.0.0.1/firmware/pc-x86_64/initramfs.cpio.zst" +
		" || initrd --name initramfs.cpio.zst tftp://10.0.0.1/firmware/pc-x86_64/initramfs.cpio.zst || goto failed\n" +
		"boot || goto failed\n:failed\n" +
		"echo Bootlace: no firmware for board pc-x86_64 came; next try in 10 s\nsleep 10\n" +
		"chain --autofree http://10.0.0.1/boot.ipxe/${netX/mac:hexhyp} || chain --autofree tftp://10.0.0.1/boot.ipxe/${netX/mac:hexhyp} || goto failed\n"
	if got := string(IPXE(b)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b.Local = true
	if got := string(IPXE(b)); !strings.HasPrefix(got, "#!ipxe\niseq ${platform} efi && goto firmware ||\nsanboot --no-describe --drive 0x80 || exit\n:firmware\nkernel ") {
		t.Errorf("to its disk:\n%s", got)
	}
	b.Initramfs = false
	if got := string(IPXE(b)); strings.Contains(got, "initrd") {
		t.Errorf("with the initramfs inside the kernel:\n%s", got)
	}
}

// U-Boot's command for the board boots the kernel. Without one the script goes
// on to pxelinux.cfg.
func TestUBoot(t *testing.T) {
	for name, want := range map[string]string{"qemu-arm64": "then booti ", "qemu-arm": "then bootz ", "pc-x86_64": ""} {
		t.Run(name, func(t *testing.T) {
			got := string(UBoot(bootOf(name)))
			if want == "" && strings.Contains(got, "tftpboot") || !strings.Contains(got, want) || !strings.HasSuffix(got, "\nif pxe get; then pxe boot; fi\n") && want != "" {
				t.Errorf("%s", got)
			}
			if string(scriptImage(got[72:])) != got {
				t.Errorf("no image of its own text: %x", got)
			}
		})
	}
	unknown := Boot{Server: netip.MustParseAddr("10.0.0.1")}
	if got := string(UBoot(unknown))[72:]; got != "if pxe get; then pxe boot; fi\n" {
		t.Errorf("nothing known: %q", got)
	}
}

// Names that U-Boot and pxelinux request, and the machine that each is for.
func TestPxelinuxName(t *testing.T) {
	from := netip.MustParseAddr("10.0.0.7")
	for name, want := range map[string]struct {
		mac string
		ok  bool
	}{
		"pxelinux.cfg/01-52-54-00-12-34-56":                 {"52-54-00-12-34-56", true},
		"pxelinux.cfg/11223344-5566-7788-99aa-bbccddeeff00": {"", true},
		"pxelinux.cfg/0A000007":                             {"", true},
		"pxelinux.cfg/0A000008":                             {"", false}, // another machine's
		"pxelinux.cfg/0A00":                                 {"", false},
		"pxelinux.cfg/default":                              {"", true},
		"pxelinux.cfg/default-arm-armv8":                    {"", true},
		"pxelinux.cfg/other":                                {"", false},
		"pxelinux.0":                                        {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			if mac, ok := PxelinuxName(name, from); mac != want.mac || ok != want.ok {
				t.Errorf("%q, %v; want %q, %v", mac, ok, want.mac, want.ok)
			}
		})
	}
}

func TestWithoutPiFolder(t *testing.T) {
	for name, want := range map[string]string{
		"deadbeef/start.elf": "start.elf", "dc-a6-32-01-02-03/config.txt": "config.txt",
		"deadbee/x": "", "deadbeef": "", "notahexx/x": "", "firmware/rpi4/x": "",
	} {
		t.Run(name, func(t *testing.T) {
			rest, ok := WithoutPiFolder(name)
			if ok != (want != "") || ok && rest != want || !ok && rest != name {
				t.Errorf("%q, %v; want %q", rest, ok, want)
			}
		})
	}
}

func TestPi(t *testing.T) {
	boots := []Boot{bootOf("rpi3"), bootOf("rpi4")}
	const head = "arm_64bit=1\nenable_uart=1\nkernel=vmlinuz\ninitramfs initramfs.cpio.zst followkernel\n"
	for name, want := range map[string]string{
		"config.txt":                head + "[pi3]\nos_prefix=firmware/rpi3/\n[pi4]\nos_prefix=firmware/rpi4/\n",
		"firmware/rpi4/cmdline.txt": boots[1].Cmdline() + "\n",
		"firmware/rpi5/cmdline.txt": "", "start4.elf": "",
	} {
		if got := string(Pi(name, boots)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := Pi("config.txt", nil); got != nil {
		t.Errorf("without firmware of a Pi: %q", got)
	}
}
