package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/human"
)

// A Volume is a block device, or a partition, with a file system we can read.
type Volume struct {
	Path  string // /dev/vda1
	Type  string // ext4 or vfat, as mount(2) wants it
	Label string
}

// errNoLabel: nothing we know is on the device.
var errNoLabel = errors.New("neither ext4 nor FAT")

// Volumes lists the block devices of the machine that hold ext4 or FAT.
func Volumes() []Volume {
	names, _ := os.ReadDir("/sys/class/block")
	var vols []Volume
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "loop") || strings.HasPrefix(n.Name(), "ram") {
			continue
		}
		v := Volume{Path: filepath.Join("/dev", n.Name())}
		f, err := os.Open(v.Path)
		if err != nil {
			continue // an empty card reader says ENOMEDIUM
		}
		v.Type, v.Label, err = ReadLabel(f)
		f.Close()
		if err == nil {
			vols = append(vols, v)
		}
	}
	return vols
}

// FindVolume waits for a volume with this label: disks show up seconds after
// their driver. It gives up when ctx ends, and the error wraps that of ctx. Where
// settle is not 0, it also gives up when no new block device has come for that
// long, with fs.ErrNotExist. Devices are read only while there is a new one, so
// it may wait for hours.
func FindVolume(ctx context.Context, label string, settle time.Duration) (Volume, error) {
	seen, since := "", time.Now()
	for {
		names, _ := filepath.Glob("/sys/class/block/*")
		if now := strings.Join(names, " ") + "."; now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) < retryOpen {
			for _, v := range Volumes() {
				if v.Label == label {
					return v, nil
				}
			}
		}
		if settle > 0 && time.Since(since) >= settle {
			return Volume{}, fmt.Errorf("find volume %s: %w", label, fs.ErrNotExist)
		}
		select {
		case <-ctx.Done():
			return Volume{}, fmt.Errorf("find volume %s: %w", label, ctx.Err())
		case <-time.After(carrierPoll):
		}
	}
}

// retryOpen is how long a new device is tried. It is named in sysfs a moment
// before it can be opened.
const retryOpen = 5 * time.Second

// Mount mounts the volume at dir, writable. It makes the folder.
func (v Volume) Mount(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
	if err := unix.Mount(v.Path, dir, v.Type, flags, ""); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", v.Path, v.Type, dir, err)
	}
	return nil
}

// ReadLabel tells the kind of file system on a device and its label, "" where
// it has none. The type is ext4, whose driver reads ext2 and ext3 as well, or
// vfat.
func ReadLabel(r io.ReaderAt) (typ, label string, err error) {
	var b [2048]byte
	if n, err := r.ReadAt(b[:], 0); n < len(b) {
		return "", "", fmt.Errorf("read label: %w", err)
	}
	// Linux Documentation/filesystems/ext4/super.rst: the superblock begins at
	// 1024, s_magic at 0x38 in it, s_volume_name at 0x78.
	if sb := b[1024:]; binary.LittleEndian.Uint16(sb[0x38:]) == 0xef53 {
		return "ext4", human.Field(sb[0x78:0x88]), nil
	}
	if label, err = fatLabel(r, b[:512]); err != nil {
		return "", "", err
	}
	return "vfat", label, nil
}

// fatLabel reads the label of a FAT file system (Microsoft FAT specification
// sections 3 and 6.7). The entry in the root directory is the one that systems
// show and change. The boot sector has the label of when it was made.
func fatLabel(r io.ReaderAt, b []byte) (string, error) {
	le := binary.LittleEndian
	var label []byte
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return "", errNoLabel
	case string(b[0x52:0x57]) == "FAT32":
		label = b[0x47:0x52]
	case string(b[0x36:0x39]) == "FAT":
		label = b[0x2b:0x36]
	default:
		return "", errNoLabel
	}
	sector := int64(le.Uint16(b[0x0b:]))
	reserved, fats := int64(le.Uint16(b[0x0e:])), int64(b[0x10])
	fat, entries := int64(le.Uint16(b[0x16:])), int(le.Uint16(b[0x11:]))
	root := reserved + fats*fat // in sectors
	if fat == 0 {               // FAT32: the root directory is a chain. Its first cluster holds the label
		cluster := int64(b[0x0d])
		root = reserved + fats*int64(le.Uint32(b[0x24:])) + (int64(le.Uint32(b[0x2c:]))-2)*cluster
		entries = int(cluster*sector) / 32
	}
	// Bounded: the specification's largest cluster is 64 KiB of 2,048 entries.
	dir := make([]byte, 32*min(entries, 2048))
	n, err := r.ReadAt(dir, max(root, 0)*sector)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read label: %w", err)
	}
	for dir = dir[:n]; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		const volume, longName = 0x08, 0x0f
		if attr := dir[11]; dir[0] != 0xe5 && attr&volume != 0 && attr != longName {
			return human.Field(dir[:11]), nil
		}
	}
	return strings.TrimSuffix(human.Field(label), "NO NAME"), nil
}
