package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A section is a part that systemd's stub finds by name (systemd-stub(7), Unified
// Kernel Image specification).
type section struct {
	name string // at most 8 bytes
	data []byte
}

// Offsets of the PE format that are the same in PE32 and PE32+.
const (
	peOffset = 0x3c // in the DOS header: where the PE header is

	peSections     = 6  // from the PE header: number of sections
	peOptionalSize = 20 // size of the optional header
	peOptional     = 24 // the optional header itself

	optInitializedData  = 8 // from the optional header
	optEntry            = 16
	optBaseOfCode       = 20
	optSectionAlignment = 32
	optFileAlignment    = 36
	optImageSize        = 56
	optHeadersSize      = 60
	optChecksum         = 64

	sectionHeader = 40 // size of one row of the section table

	// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
	sectionData = 0x40000040

	page = 4096 // the stub's own alignment can be 512; the kernel wants pages
)

var errPE = errors.New("not a PE program that sections can be added to")

// addSections appends sections to a PE program. Nothing that is there moves. Each
// new section gets a row in the section table, and its data goes to the end.
func addSections(stub []byte, add []section) ([]byte, error) {
	le := binary.LittleEndian
	if len(stub) < 0x40 || stub[0] != 'M' || stub[1] != 'Z' {
		return nil, fmt.Errorf("%w: no MZ", errPE)
	}
	pe := int64(le.Uint32(stub[peOffset:]))
	if pe+peOptional+optChecksum+4 > int64(len(stub)) || string(stub[pe:pe+4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("%w: no PE header", errPE)
	}
	out, err := withRoom(stub, pe, len(add))
	if err != nil {
		return nil, err
	}
	header, opt := out[pe:], out[pe+peOptional:]
	n := int64(le.Uint16(header[peSections:]))
	sectionAlign := max(int64(le.Uint32(opt[optSectionAlignment:])), page)
	fileAlign := int64(le.Uint32(opt[optFileAlignment:]))
	headers := int64(le.Uint32(opt[optHeadersSize:]))
	if fileAlign == 0 || fileAlign&(fileAlign-1) != 0 || sectionAlign&(sectionAlign-1) != 0 || headers > int64(len(out)) {
		return nil, fmt.Errorf("%w: alignment %d, headers of %d bytes", errPE, fileAlign, headers)
	}

	table := pe + peOptional + int64(le.Uint16(header[peOptionalSize:]))
	end := table + n*sectionHeader
	slack := end + int64(len(add))*sectionHeader
	if slack > headers {
		return nil, fmt.Errorf("%w: the section table has room up to %d, needs %d", errPE, headers, slack)
	}
	if !filler(out[end:slack]) {
		return nil, fmt.Errorf("%w: something stands behind the section table", errPE)
	}
	var image int64 // end of what is mapped so far
	for row := table; row < end; row += sectionHeader {
		size, addr := int64(le.Uint32(out[row+8:])), int64(le.Uint32(out[row+12:]))
		image = max(image, addr+size)
	}

	for i, s := range add {
		if len(s.name) > 8 || len(s.data) == 0 {
			return nil, fmt.Errorf("section %q of %d bytes cannot be added", s.name, len(s.data))
		}
		out = append(out, make([]byte, align(int64(len(out)), fileAlign)-int64(len(out)))...)
		addr, raw := align(image, sectionAlign), align(int64(len(s.data)), fileAlign)
		offset := int64(len(out))
		image = addr + int64(len(s.data))
		if image > 1<<31 || offset+raw > 1<<31 {
			return nil, fmt.Errorf("section %s: the program gets larger than 2 GiB", s.name)
		}
		row := out[end+int64(i)*sectionHeader:][:sectionHeader]
		clear(row)
		copy(row[:8], s.name)
		le.PutUint32(row[8:], uint32(len(s.data)))
		le.PutUint32(row[12:], uint32(addr))
		le.PutUint32(row[16:], uint32(raw))
		le.PutUint32(row[20:], uint32(offset))
		le.PutUint32(row[36:], sectionData)
		out = append(append(out, s.data...), make([]byte, raw-int64(len(s.data)))...)

		opt = out[pe+peOptional:]
		le.PutUint32(opt[optInitializedData:], le.Uint32(opt[optInitializedData:])+uint32(raw))
	}
	le.PutUint16(out[pe+peSections:], uint16(n)+uint16(len(add)))
	le.PutUint32(opt[optImageSize:], uint32(align(image, sectionAlign)))
	le.PutUint32(opt[optChecksum:], 0) // nobody checks it in an EFI program
	return out, nil
}

// withRoom returns a copy of the program with room for more rows in its section
// table. The stub for 32-bit ARM has none, since its code begins right behind
// the header. Such a program moves up by a page as a whole, header included, and
// gets a new header below. That works for code that is position-independent, as
// systemd's is, and has nothing for a loader to relocate. pe is the offset of
// the PE header.
func withRoom(stub []byte, pe int64, rows int) ([]byte, error) {
	le := binary.LittleEndian
	opt := stub[pe+peOptional:]
	table := pe + peOptional + int64(le.Uint16(stub[pe+peOptionalSize:]))
	end := table + int64(le.Uint16(stub[pe+peSections:]))*sectionHeader
	room := end + int64(rows)*sectionHeader
	headers := le.Uint32(opt[optHeadersSize:])
	if end != int64(headers) || end > int64(len(stub)) {
		return bytes.Clone(stub), nil
	}
	if room > page {
		return nil, fmt.Errorf("%w: the section table has room up to %d, needs %d", errPE, page, room)
	}
	const pe32 = 0x10b // optional header's magic; its data directories begin at 96
	if le.Uint16(opt) != pe32 || table < pe+peOptional+96 || len(bytes.Trim(stub[pe+peOptional+96:table], "\x00")) != 0 {
		return nil, fmt.Errorf("%w: no room for sections, and data directories", errPE)
	}
	out := append(append(bytes.Clone(stub[:end]), make([]byte, page-end)...), stub...)
	up := func(b []byte) { le.PutUint32(b, le.Uint32(b)+page) }
	opt = out[pe+peOptional:]
	up(opt[optEntry:])
	up(opt[optBaseOfCode:])
	le.PutUint32(opt[optHeadersSize:], page)
	for row := table; row < end; row += sectionHeader {
		size, addr := le.Uint32(out[row+16:]), le.Uint32(out[row+12:])
		if size == 0 {
			continue // .reloc, which some loaders demand
		}
		if offset := le.Uint32(out[row+20:]); offset != addr {
			return nil, fmt.Errorf("%w: no room for sections, and one at %#x is for %#x", errPE, offset, addr)
		}
		up(out[row+12:])
		up(out[row+20:])
	}
	return out, nil
}

// filler reports whether bytes behind the section table mean nothing. They are
// zeros, or the NOPs with which arm64's assembler pads up to the first section.
func filler(b []byte) bool {
	nop := []byte{0x1f, 0x20, 0x03, 0xd5}
	for len(b) >= len(nop) && bytes.HasPrefix(b, nop) {
		b = b[len(nop):]
	}
	return len(bytes.Trim(b, "\x00")) == 0
}

// align rounds n up to a multiple of to, a power of two.
func align(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }

// uki makes one EFI program of systemd's stub, kernel, initramfs and command
// line. The kernel comes last. Newer stubs start it in place, and then it may
// need room behind its section.
func uki(stub, kernel, initramfs []byte, cmdline, osRelease string) ([]byte, error) {
	return addSections(stub, []section{
		{".osrel", []byte(osRelease)},
		{".cmdline", []byte(cmdline)},
		{".initrd", initramfs},
		{".linux", kernel},
	})
}
