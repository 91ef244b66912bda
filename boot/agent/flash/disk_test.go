package flash

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

// fakeSys lays out a sysfs block tree as Linux does. /sys/block/X is a link into
// /sys/devices, and X/device one to the hardware.
func fakeSys(t *testing.T, disks map[string]map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	for name, attrs := range disks {
		hw := filepath.Join(sys, "devices", attrs["@"])
		dir := filepath.Join(hw, "block", name)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.MkdirAll(dir, 0o755))
		must(os.MkdirAll(filepath.Join(sys, "block"), 0o755))
		must(os.Symlink(dir, filepath.Join(sys, "block", name)))
		if !strings.HasPrefix(attrs["@"], "virtual") {
			must(os.Symlink(hw, filepath.Join(dir, "device")))
		}
		for k, v := range attrs {
			if k == "@" {
				continue
			}
			must(os.MkdirAll(filepath.Dir(filepath.Join(dir, k)), 0o755))
			must(os.WriteFile(filepath.Join(dir, k), []byte(v), 0o644))
		}
	}
	return filepath.Join(sys, "block")
}

const (
	gib1  = "2097152\n" // in sectors
	mib64 = "131072\n"
)

func TestDisks(t *testing.T) {
	sys := fakeSys(t, map[string]map[string]string{
		"vda": {"@": "pci0000:00/virtio1", "size": gib1, "ro": "0\n", "removable": "0\n", "serial": "disk-1", "vda1/partition": "1\n", "vda2/partition": "2\n"},
		"vdb": {"@": "pci0000:00/virtio2", "size": "0\n", "ro": "0\n"},
		"vdc": {"@": "pci0000:00/virtio3", "size": gib1, "ro": "1\n"},
		"sda": {"@": "pci0000:00/ata1/target0:0:0/0:0:0:0", "size": gib1, "removable": "0\n", "device/model": "QEMU HARDDISK   \n",
			"device/wwid": "naa.5000c500a1b2c3d4\n", "device/vpd_pg80": "\x00\x80\x00\x0a  QM00001 trailing"},
		"sdb":          {"@": "pci0000:00/usb1/1-1/host3", "size": gib1, "removable": "0\n", "device/model": "Flash Disk\n"},
		"sdaa":         {"@": "pci0000:00/ata9", "size": gib1, "removable": "1\n"},
		"nvme0n1":      {"@": "pci0000:00/nvme0", "size": gib1, "wwid": "eui.0025385b71b0c1d2\n", "device/serial": "S4EWNX0R\n", "device/model": "Samsung SSD\n"},
		"nvme0c0n1":    {"@": "pci0000:00/nvme0c", "size": gib1, "hidden": "1\n"},
		"mmcblk0":      {"@": "platform/mmc0:0001", "size": gib1, "device/serial": "0x12345678\n", "device/name": "BJTD4R\n"},
		"mmcblk0boot0": {"@": "platform/mmc0:0001/boot0", "size": "8192\n"},
		"mmcblk0rpmb":  {"@": "platform/mmc0:0001/rpmb", "size": "8192\n"},
		"mtdblock0":    {"@": "platform/spi0", "size": "8192\n"},
		"sr0":          {"@": "pci0000:00/ata2", "size": gib1},
		"fd0":          {"@": "platform/floppy.0", "size": "8\n"},
		"loop0":        {"@": "virtual", "size": gib1},
		"ram0":         {"@": "virtual", "size": gib1},
		"zram0":        {"@": "virtual", "size": gib1},
		"md127":        {"@": "virtual", "size": gib1},
		"dm-0":         {"@": "virtual", "size": gib1},
	})
	got, err := disks(sys, "/dev")
	if err != nil {
		t.Fatal(err)
	}
	const gib = 1 << 30
	want := []Disk{
		{Name: "sda", Path: "/dev/sda", Size: gib, Model: "QEMU HARDDISK", WWN: "naa.5000c500a1b2c3d4", Serial: "QM00001"},
		{Name: "sdb", Path: "/dev/sdb", Size: gib, Model: "Flash Disk", Removable: true},
		{Name: "vda", Path: "/dev/vda", Size: gib, Serial: "disk-1"},
		{Name: "sdaa", Path: "/dev/sdaa", Size: gib, Removable: true},
		{Name: "mmcblk0", Path: "/dev/mmcblk0", Size: gib, Serial: "0x12345678", Model: "BJTD4R"},
		{Name: "nvme0n1", Path: "/dev/nvme0n1", Size: gib, Serial: "S4EWNX0R", WWN: "eui.0025385b71b0c1d2", Model: "Samsung SSD"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// The machine this runs on: whatever it has, no loop or memory disk is listed.
func TestDisksHere(t *testing.T) {
	list, err := Disks()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Size <= 0 || strings.HasPrefix(d.Name, "loop") || strings.HasPrefix(d.Name, "zram") {
			t.Errorf("%+v", d)
		}
	}
}

func TestFitting(t *testing.T) {
	const gib = 1 << 30
	all := []Disk{
		{Name: "vda", Path: "/dev/vda", Size: 64 << 20, Serial: "small"},
		{Name: "sda", Path: "/dev/sda", Size: gib, Model: "USB Stick", Serial: "stick", Removable: true},
		{Name: "vdb", Path: "/dev/vdb", Size: gib, Serial: "big"},
		{Name: "nvme0n1", Path: "/dev/nvme0n1", Size: 4 * gib, Serial: "huge", WWN: "eui.0025", Model: "Samsung SSD 980"},
	}
	for _, tt := range []struct {
		rule boot.Disk
		need int64
		want string // name, or part of the error
	}{
		{boot.Disk{}, 1, "vda"},
		{boot.Disk{}, 256 << 20, "vdb"},
		{boot.Disk{Serial: "stick"}, 256 << 20, "sda"},
		{boot.Disk{Model: "USB*"}, 1, "sda"},
		{boot.Disk{WWN: "0x0025"}, 1, "nvme0n1"},
		{boot.Disk{Min: 2 * gib}, 1, "nvme0n1"},
		{boot.Disk{Min: 100 << 20, Max: 2 * gib}, 1, "vdb"},
		{boot.Disk{}, 8 * gib, "vda: 64 MiB is smaller than the image's 8 GiB; sda: removable or on USB, and not named by serial, wwn or model; vdb: 1 GiB is smaller than the image's 8 GiB; nvme0n1: 4 GiB is smaller"},
		{boot.Disk{Serial: "other"}, 1, `vda: serial is "small", not "other"`},
		{boot.Disk{WWN: "5000"}, 1, `nvme0n1: wwn is "eui.0025", not "5000"`},
		{boot.Disk{Model: "Intel*"}, 1, `nvme0n1: model is "Samsung SSD 980", not "Intel*"`},
		{boot.Disk{Max: 1 << 20}, 1, "vda: 64 MiB is larger than the 1 MiB asked for"},
		{boot.Disk{Model: "[a"}, 1, "syntax error in pattern"},
	} {
		t.Run(fmt.Sprintf("%+v, %d", tt.rule, tt.need), func(t *testing.T) {
			fit, err := fitting(all, tt.rule, tt.need)
			if err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && fit[0].Name != tt.want {
				t.Errorf("%v, %v; want %s", fit, err, tt.want)
			}
		})
	}
	if _, err := fitting(nil, boot.Disk{}, 1); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("no disks: %v", err)
	}
}

func TestSelect(t *testing.T) {
	raw := rawImage(1, 3*mib)
	stored, m := store(t, "zstd", raw)
	var list []Disk
	for i := range 3 {
		f, path := blank(t, 4*mib)
		list = append(list, Disk{Name: fmt.Sprintf("vd%c", 'a'+i), Path: path, Size: f.Size()})
	}
	pick := func(want string, rule boot.Disk) {
		t.Helper()
		d, err := Select(list, rule, m)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && d.Name != want {
			t.Errorf("%v, %v; want %s", d.Name, err, want)
		}
	}
	put := func(i int, f func(*File) error) {
		t.Helper()
		dev, err := Open(list[i].Path)
		if err == nil {
			err = f(dev)
			dev.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	used := func(f *File) error { _, err := f.WriteAt(rawImage(5, mib), 0); return err }
	pick("vda", boot.Disk{})
	put(0, used)
	pick("vdb", boot.Disk{})
	pick("vda", boot.Disk{Overwrite: true})
	put(1, func(f *File) error {
		_, err := Write(t.Context(), f, m, from(stored), Options{})
		return err
	})
	pick("vdb", boot.Disk{}) // not the blank vdc
	pick("vdb", boot.Disk{Overwrite: true})
	put(1, used)
	put(2, used)
	pick("vda: a GPT partition table; vdb: a GPT partition table; vdc: a GPT partition table: the disk is in use", boot.Disk{})
}
