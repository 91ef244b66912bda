package flash

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/human"
)

// A Disk is a whole disk of this machine.
type Disk struct {
	Name      string // vda, nvme0n1, mmcblk0
	Path      string // /dev/vda
	Serial    string // "" where it has none
	WWN       string // as the kernel writes it: naa.5000c500…, eui.0025…
	Model     string
	Size      int64 // bytes
	Removable bool  // a card reader or anything on USB: written to only when named
}

func (d Disk) String() string {
	s := fmt.Sprintf("%s (%s", d.Name, human.Size(d.Size))
	if d.Model != "" {
		s += ", " + d.Model
	}
	if d.Serial != "" {
		s += ", serial " + d.Serial
	}
	return s + ")"
}

// notDisks are block devices that have hardware behind them and are still
// nothing an image belongs on. They are CD and floppy drives and flash that
// holds the firmware. They are also the boot and replay-protected areas of an
// eMMC.
var notDisks = []string{"sr*", "fd*", "mtdblock*", "mmcblk*boot*", "mmcblk*rpmb", "mmcblk*gp*"}

// Disks lists the disks of this machine that can be written. They are in the
// order of their names, sda before sdaa.
func Disks() ([]Disk, error) { return disks("/sys/block", "/dev") }

func disks(sys, dev string) ([]Disk, error) {
	names, err := os.ReadDir(sys)
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	var list []Disk
	for _, e := range names {
		if d, ok := readDisk(sys, dev, e.Name()); ok {
			list = append(list, d)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i].Name, list[j].Name
		return cmp.Or(len(a)-len(b), strings.Compare(a, b)) < 0
	})
	return list, nil
}

func readDisk(sys, dev, name string) (Disk, bool) {
	dir := filepath.Join(sys, name)
	for _, g := range notDisks {
		if ok, _ := path.Match(g, name); ok {
			return Disk{}, false
		}
	}
	// The kernel makes loop, ram, zram, md, dm and nbd devices itself. They have
	// no device behind them.
	if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
		return Disk{}, false
	}
	sectors, _ := strconv.ParseInt(attr(dir, "size"), 10, 64)
	if sectors <= 0 || attr(dir, "ro") == "1" || attr(dir, "hidden") == "1" {
		return Disk{}, false
	}
	d := Disk{
		Name: name,
		// The kernel writes a / of a device name as ! (cciss!c0d0).
		Path:  filepath.Join(dev, strings.ReplaceAll(name, "!", "/")),
		Size:  sectors * 512, // whatever the logical block size (block/genhd.c)
		Model: cmp.Or(attr(dir, "device/model"), attr(dir, "device/name")),
		// virtio-blk has it at the disk, NVMe and MMC at the device. SCSI has it
		// in a page of its own.
		Serial:    cmp.Or(attr(dir, "serial"), attr(dir, "device/serial"), vpdSerial(dir)),
		WWN:       cmp.Or(attr(dir, "wwid"), attr(dir, "device/wwid")),
		Removable: attr(dir, "removable") == "1" || onUSB(dir),
	}
	return d, true
}

// attr reads a sysfs attribute, "" where there is none.
func attr(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return human.Label(b)
}

// vpdSerial reads the unit serial number page (SPC-4 section 7.8.17). It has
// four bytes of header, the last two of which are the length. Then comes ASCII.
func vpdSerial(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80"))
	if err != nil || len(b) < 4 || b[1] != 0x80 {
		return ""
	}
	n := int(b[2])<<8 | int(b[3])
	return human.Label(b[4:min(4+n, len(b))])
}

// onUSB reports whether the path to the device leads over USB. A stick or an
// enclosure may be whoever's, whether or not it calls itself removable.
func onUSB(dir string) bool {
	p, err := filepath.EvalSymlinks(dir)
	return err == nil && strings.Contains(p, "/usb")
}

// fitting returns the disks that a rule allows and that hold need bytes. Without
// any, the error names every disk and why it was not taken.
func fitting(disks []Disk, rule boot.Disk, need int64) (fit []Disk, err error) {
	if _, err := path.Match(rule.Model, ""); err != nil {
		return nil, fmt.Errorf("choose disk: model %q: %w", rule.Model, err)
	}
	var why []string
	for _, d := range disks {
		reason := refusal(d, rule, need)
		if reason == "" {
			fit = append(fit, d)
		} else {
			why = append(why, d.Name+": "+reason)
		}
	}
	if len(disks) == 0 {
		return nil, errors.New("choose disk: this machine has no disk that can be written")
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("choose disk: none fits: %s", strings.Join(why, "; "))
	}
	return fit, nil
}

// refusal says why a disk is not the one that the rule means. It is "" where it
// may be.
func refusal(d Disk, rule boot.Disk, need int64) string {
	model, _ := path.Match(rule.Model, d.Model)
	named := rule.Serial != "" || rule.WWN != "" || rule.Model != ""
	switch {
	case rule.Serial != "" && rule.Serial != d.Serial:
		return fmt.Sprintf("serial is %q, not %q", d.Serial, rule.Serial)
	case rule.WWN != "" && wwn(rule.WWN) != wwn(d.WWN):
		return fmt.Sprintf("wwn is %q, not %q", d.WWN, rule.WWN)
	case rule.Model != "" && !model:
		return fmt.Sprintf("model is %q, not %q", d.Model, rule.Model)
	case d.Removable && !named:
		return "removable or on USB, and not named by serial, wwn or model"
	case rule.Min > 0 && d.Size < rule.Min:
		return fmt.Sprintf("%s is smaller than the %s asked for", human.Size(d.Size), human.Size(rule.Min))
	case rule.Max > 0 && d.Size > rule.Max:
		return fmt.Sprintf("%s is larger than the %s asked for", human.Size(d.Size), human.Size(rule.Max))
	case d.Size < need:
		return fmt.Sprintf("%s is smaller than the image's %s", human.Size(d.Size), human.Size(need))
	}
	return ""
}

// wwn drops what sysfs, udev and lsblk write differently.
func wwn(s string) string {
	s = strings.ToLower(s)
	for _, p := range []string{"wwn-", "naa.", "eui.", "0x"} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}
