package efi

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/bootlace/bootlace/board"
)

// description marks the load options that we made ourselves.
const description = "Bootlace disk"

// An Entry is the load option that BootNext was set to.
type Entry struct {
	Name        string // Boot0003
	Description string
}

func (e Entry) String() string { return fmt.Sprintf("%s %q", e.Name, e.Description) }

// BootNext makes the firmware boot from a disk once, at the next reset. It takes
// a load option for one of the disk's partitions. Without one it makes one for
// the fallback loader of the disk's EFI system partition. Then it writes
// BootNext (UEFI 2.10 section 3.1). BootOrder stays as it is, so the network
// keeps its place.
//
// A load option that we made for an earlier content of the disk is used again.
// Otherwise the variable store would fill up.
//
// size is that of the disk in bytes. goarch tells the loader's name. The error
// is ErrUnavailable where there are no variables. It wraps ErrNoGPT where the
// disk has no partitions.
func BootNext(v Vars, disk io.ReaderAt, size int64, goarch string) (Entry, error) {
	nums, err := v.options()
	if err != nil || (len(nums) == 0 && !v.mounted()) {
		return Entry{}, ErrUnavailable
	}
	parts, err := ReadGPT(disk, size)
	if err != nil {
		return Entry{}, err
	}
	e, num, err := v.find(nums, parts)
	if err != nil {
		if e, num, err = v.create(nums, parts, goarch); err != nil {
			return Entry{}, err
		}
	}
	return e, v.set("BootNext", binary.LittleEndian.AppendUint16(nil, num))
}

// mounted reports whether an efivarfs is there. A folder of sysfs that nothing
// is mounted on is empty. Firmware always has variables, if no Boot####.
func (v Vars) mounted() bool {
	names, err := os.ReadDir(string(v))
	return err == nil && len(names) > 0
}

// find returns the best load option for one of the partitions. One that an
// installed system made comes before one of our own. An inactive one was
// switched off by somebody and is left alone. So is one that cannot be parsed.
func (v Vars) find(nums []uint16, parts []Partition) (Entry, uint16, error) {
	var own *Entry
	var ownNum uint16
	for _, num := range nums {
		o, err := v.load(num)
		if err != nil || o.Attributes&Active == 0 || !namesOneOf(o, parts) {
			continue
		}
		e := Entry{Name: option(num), Description: o.Description}
		if o.Description != description {
			return e, num, nil
		}
		own, ownNum = &e, num
	}
	if own == nil {
		return Entry{}, 0, fmt.Errorf("no load option names the disk")
	}
	return *own, ownNum, nil
}

func (v Vars) load(num uint16) (*LoadOption, error) {
	raw, err := v.get(option(num))
	if err != nil {
		return nil, err
	}
	return ParseLoadOption(raw)
}

// namesOneOf reports whether the option's path leads to one of the partitions.
// Our own option must agree in everything. The table may have changed under a
// GUID that an image always brings along.
func namesOneOf(o *LoadOption, parts []Partition) bool {
	for _, n := range o.Path {
		h, ok := n.HardDisk()
		if !ok {
			continue
		}
		return slices.ContainsFunc(parts, func(p Partition) bool {
			if o.Description == description {
				return p.ESP() && h == p.hardDisk()
			}
			return h.GUID == p.GUID
		})
	}
	return false
}

func (p Partition) hardDisk() HardDisk { return HardDisk{p.Number, p.Start, p.Size, p.GUID} }

// create writes a load option for the first EFI system partition.
func (v Vars) create(nums []uint16, parts []Partition, goarch string) (Entry, uint16, error) {
	i := slices.IndexFunc(parts, Partition.ESP)
	if i < 0 {
		return Entry{}, 0, fmt.Errorf("none of the disk's %d partitions is an EFI system partition", len(parts))
	}
	arch, ok := board.ArchOf(goarch)
	if !ok {
		return Entry{}, 0, fmt.Errorf("no name for an EFI loader on %s", goarch)
	}
	o := LoadOption{
		Attributes:  Active,
		Description: description,
		Path:        []Node{parts[i].hardDisk().Node(), FilePath(`\EFI\BOOT\` + arch.EFILoader())},
	}
	num, err := v.free(nums)
	if err != nil {
		return Entry{}, 0, err
	}
	return Entry{option(num), description}, num, v.set(option(num), o.Bytes())
}

// free returns the number of a load option that we made before, or of none.
func (v Vars) free(nums []uint16) (uint16, error) {
	for _, num := range nums {
		if o, err := v.load(num); err == nil && o.Description == description {
			return num, nil
		}
	}
	for num := range uint16(0xffff) {
		if _, used := slices.BinarySearch(nums, num); !used {
			return num, nil
		}
	}
	return 0, fmt.Errorf("all numbers of load options are taken")
}
