package efi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// A GUID is in the byte order of UEFI structures. The first three fields are
// little endian (UEFI 2.10 appendix A).
type GUID [16]byte

func (g GUID) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

// espType marks an EFI system partition: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
var espType = GUID{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// A Partition of a GPT.
type Partition struct {
	Number      uint32 // from 1, its place in the table
	Type, GUID  GUID
	Start, Size uint64 // in logical blocks
	Name        string
}

// ESP reports whether it is an EFI system partition.
func (p Partition) ESP() bool { return p.Type == espType }

// ErrNoGPT: the disk holds no GPT whose checksums are right.
var ErrNoGPT = errors.New("no valid GPT")

// ReadGPT reads the partitions of a disk of size bytes (UEFI 2.10 section 5.3).
// It takes the primary header. Where that is damaged it takes the backup in the
// last block. The error wraps ErrNoGPT unless reading failed.
func ReadGPT(disk io.ReaderAt, size int64) ([]Partition, error) {
	var first error
	// A disk of 4 KiB blocks has its header at byte 4096. An image is made for
	// one block size, and what the kernel says of a file is nothing. So both are
	// tried.
	for _, block := range []int64{512, 4096} {
		parts, err := readTable(disk, block, 1, size/block)
		if err == nil {
			return parts, nil
		}
		if first == nil {
			first = err
		}
	}
	for _, block := range []int64{512, 4096} {
		if parts, err := readTable(disk, block, size/block-1, size/block); err == nil {
			return parts, nil
		}
	}
	return nil, fmt.Errorf("read GPT: %w", first)
}

const (
	headerSize = 92      // without the reserved rest of the block
	maxTable   = 1 << 20 // bytes of partition entries; 128 of 128 bytes are usual
)

// readTable reads the header in logical block lba and the entries it points to.
// blocks is how many the disk has.
func readTable(disk io.ReaderAt, block, lba, blocks int64) ([]Partition, error) {
	if lba < 1 || lba >= blocks {
		return nil, fmt.Errorf("disk of %d blocks: %w", max(blocks, 0), ErrNoGPT)
	}
	h := make([]byte, block)
	if _, err := disk.ReadAt(h, lba*block); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(h[:8]) != "EFI PART" {
		return nil, fmt.Errorf("no header in block %d: %w", lba, ErrNoGPT)
	}
	length, sum := le.Uint32(h[12:]), le.Uint32(h[16:])
	if length < headerSize || int64(length) > block {
		return nil, fmt.Errorf("header says it has %d bytes: %w", length, ErrNoGPT)
	}
	clear(h[16:20]) // the checksum is taken with its own field zero
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return nil, fmt.Errorf("checksum of header in block %d: %w", lba, ErrNoGPT)
	}
	if le.Uint64(h[24:]) != uint64(lba) {
		return nil, fmt.Errorf("header in block %d says it is in block %d: %w", lba, le.Uint64(h[24:]), ErrNoGPT)
	}
	at, count, each := le.Uint64(h[72:]), uint64(le.Uint32(h[80:])), uint64(le.Uint32(h[84:]))
	switch {
	case each < 128 || each > 4096 || each%8 != 0:
		return nil, fmt.Errorf("entries of %d bytes: %w", each, ErrNoGPT)
	case count*each > maxTable || at >= uint64(blocks):
		return nil, fmt.Errorf("%d entries in block %d: %w", count, at, ErrNoGPT)
	}
	raw := make([]byte, count*each)
	if _, err := disk.ReadAt(raw, int64(at)*block); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(raw) != le.Uint32(h[88:]) {
		return nil, fmt.Errorf("checksum of entries: %w", ErrNoGPT)
	}
	return entries(raw, int(each), uint64(blocks))
}

func entries(raw []byte, each int, blocks uint64) ([]Partition, error) {
	le := binary.LittleEndian
	var parts []Partition
	for n := uint32(1); len(raw) >= each; n++ {
		e := raw[:each]
		raw = raw[each:]
		p := Partition{Number: n, Type: GUID(e[:16]), GUID: GUID(e[16:32]), Start: le.Uint64(e[32:])}
		if p.Type == (GUID{}) {
			continue // unused
		}
		last := le.Uint64(e[40:])
		if last < p.Start || last >= blocks {
			return nil, fmt.Errorf("partition %d from block %d to %d of %d: %w", n, p.Start, last, blocks, ErrNoGPT)
		}
		p.Size = last - p.Start + 1
		p.Name = decode16(e[56:128])
		parts = append(parts, p)
	}
	return parts, nil
}

// decode16 reads UTF-16LE up to its NUL or its end.
func decode16(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// encode16 is UTF-16LE with a NUL.
func encode16(s string) []byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return append(b, 0, 0)
}
