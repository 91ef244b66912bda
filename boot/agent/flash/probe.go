package flash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bootlace/bootlace/images"
)

// ErrDiskInUse says that a disk holds something. Nobody said that it may be
// overwritten.
var ErrDiskInUse = errors.New("the disk is in use and overwriting it was not asked for")

// edge is how much of either end of a disk is looked at and cleared. Boot
// sectors, both partition tables and the labels of volume managers lie there.
const edge = 1 << 20

// edges reads the first and the last MiB of a disk. Of a smaller disk both are
// the whole.
func edges(dev Device) (head, tail []byte, err error) {
	n := min(edge, dev.Size())
	head, tail = make([]byte, n), make([]byte, n)
	if _, err := dev.ReadAt(head, 0); err != nil {
		return nil, nil, fmt.Errorf("read the disk's first MiB: %w", err)
	}
	if _, err := dev.ReadAt(tail, dev.Size()-n); err != nil {
		return nil, nil, fmt.Errorf("read the disk's last MiB: %w", err)
	}
	return head, tail, nil
}

// A mark is what something leaves at a fixed place of the first MiB.
type mark struct {
	name  string
	off   int
	magic string
}

// marks are tried in order, tables of partitions first. Offsets are those of
// the formats' own documents; libblkid has the same.
var marks = []mark{
	{"a GPT partition table", 512, "EFI PART"},
	{"a GPT partition table", 4096, "EFI PART"}, // disks with sectors of 4 KiB
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"an LVM physical volume", 512, "LABELONE"},
	{"an LVM physical volume", 0, "LABELONE"},
	{"an LVM physical volume", 1024, "LABELONE"},
	{"an LVM physical volume", 1536, "LABELONE"},
	{"a RAID member", 0, "\xfc\x4e\x2b\xa9"},
	{"a RAID member", 4096, "\xfc\x4e\x2b\xa9"},
	{"an ext2, ext3 or ext4 file system", 1080, "\x53\xef"},
	{"an XFS file system", 0, "XFSB"},
	{"a Btrfs file system", 0x10040, "_BHRfS_M"},
	{"an F2FS file system", 1024, "\x10\x20\xf5\xf2"},
	{"a SquashFS file system", 0, "hsqs"},
	{"an ISO 9660 image", 0x8001, "CD001"},
	{"swap space", 4086, "SWAPSPACE2"},
	{"an NTFS file system", 3, "NTFS    "},
	{"an exFAT file system", 3, "EXFAT   "},
	{"a FAT file system", 54, "FAT1"},
	{"a FAT file system", 82, "FAT32"},
	{"an MBR partition table", 510, "\x55\xaa"},
}

// contents says what a disk looks like by its first and last MiB. It returns a
// name like "a GPT partition table", or "" when both are zero.
func contents(head, tail []byte) string {
	for _, m := range marks {
		if len(head) > m.off && bytes.HasPrefix(head[m.off:], []byte(m.magic)) {
			return m.name
		}
	}
	for _, sector := range []int{512, 4096} {
		if n := len(tail); n >= sector && bytes.HasPrefix(tail[n-sector:], []byte("EFI PART")) {
			return "the backup of a GPT partition table"
		}
	}
	for off := len(tail) - 4096; off >= 0 && off >= len(tail)-(128<<10); off -= 4096 {
		// Version 0.90 and 1.0 superblocks lie 4 to 128 KiB before the end.
		if binary.LittleEndian.Uint32(tail[off:]) == 0xa92b4efc {
			return "a RAID member"
		}
	}
	switch {
	case !images.IsZero(head):
		return "data in its first MiB"
	case !images.IsZero(tail):
		return "data in its last MiB"
	}
	return ""
}
