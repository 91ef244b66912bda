package firmware

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
)

// The stub of every architecture that has a board takes the sections.
func TestUKI(t *testing.T) {
	for _, a := range board.Arches {
		if slices.ContainsFunc(board.Boards, func(b *board.Board) bool { return b.Arch == a.Name }) {
			t.Run(a.Name, func(t *testing.T) { testUKI(t, testStub(t, a.Name)) })
		}
	}
}

func testUKI(t *testing.T, stub []byte) {
	before, err := openPE(stub)
	if err != nil {
		t.Fatal(err)
	}
	want := []section{
		{".osrel", []byte("ID=bootlace\n")},
		{".cmdline", []byte("console=ttyS0")},
		{".initrd", bytes.Repeat([]byte("initrd"), 99_999)},
		{".linux", bytes.Repeat([]byte("kernel!"), 77_777)},
	}
	made, err := uki(stub, want[3].data, want[2].data, string(want[1].data), string(want[0].data))
	if err != nil {
		t.Fatal(err)
	}
	f, err := openPE(made)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sections) != len(before.Sections)+len(want) {
		t.Fatalf("%d sections, want %d and %d", len(f.Sections), len(before.Sections), len(want))
	}
	opt := optional(f)
	// The arm stub moves up by a page, into the room that it lacked.
	up := opt.entry - optional(before).entry
	if up != 0 && up != page || up == page && int(optional(before).headers) > tableEnd(stub) {
		t.Errorf("the stub's entry is %#x, was %#x", opt.entry, optional(before).entry)
	}
	if got := tableEnd(made); int(opt.headers) < got {
		t.Errorf("section table up to %d, header up to %d", got, opt.headers)
	}
	var end, raw uint32 // of what came before, in memory and in the file
	for i, s := range f.Sections {
		if s.VirtualAddress < end || s.Size > 0 && s.Offset < raw {
			t.Errorf("%s at %#x, in the file at %#x: overlaps what comes before", s.Name, s.VirtualAddress, s.Offset)
		}
		end, raw = s.VirtualAddress+s.VirtualSize, s.Offset+s.Size
		if i < len(before.Sections) {
			was := before.Sections[i].SectionHeader
			if was.Size > 0 {
				was.VirtualAddress += up
				was.Offset += up
			}
			got, err := s.Data()
			old, err2 := before.Sections[i].Data()
			if s.SectionHeader != was || !bytes.Equal(got, old) || err != nil || err2 != nil {
				t.Errorf("the stub's %s changed: %+v, %v, %v", s.Name, s.SectionHeader, err, err2)
			}
			continue
		}
		w := want[i-len(before.Sections)]
		data, err := s.Data()
		if err != nil || s.Name != w.name || s.VirtualSize != uint32(len(w.data)) || !bytes.Equal(data[:s.VirtualSize], w.data) {
			t.Errorf("section %d: %s of %d bytes (%v), want %s of %d", i, s.Name, s.VirtualSize, err, w.name, len(w.data))
		}
		if s.VirtualAddress%page != 0 || s.Offset%opt.fileAlignment != 0 || s.Size%opt.fileAlignment != 0 {
			t.Errorf("%s is not aligned: %+v", s.Name, s.SectionHeader)
		}
	}
	if opt.image < end || opt.image > end+page || opt.checksum != 0 || int(raw) != len(made) {
		t.Errorf("image of %#x, ends at %#x; checksum %#x; file of %d, ends at %d", opt.image, end, opt.checksum, len(made), raw)
	}
	if last := f.Sections[len(f.Sections)-1]; last.Name != ".linux" {
		t.Errorf("%s is last, not .linux", last.Name)
	}
}

// openPE reads a program; debug/pe knows 32-bit ARM by the number of ARMNT, not
// by that of Thumb, which UEFI uses.
func openPE(b []byte) (*pe.File, error) {
	const thumb = 0x1c2
	at := binary.LittleEndian.Uint32(b[peOffset:]) + 4
	if binary.LittleEndian.Uint16(b[at:]) == thumb {
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint16(b[at:], pe.IMAGE_FILE_MACHINE_ARMNT)
	}
	return pe.NewFile(bytes.NewReader(b))
}

// header is what PE32 and PE32+ have both.
type header struct{ entry, image, headers, fileAlignment, checksum uint32 }

func optional(f *pe.File) header {
	switch o := f.OptionalHeader.(type) {
	case *pe.OptionalHeader32:
		return header{o.AddressOfEntryPoint, o.SizeOfImage, o.SizeOfHeaders, o.FileAlignment, o.CheckSum}
	case *pe.OptionalHeader64:
		return header{o.AddressOfEntryPoint, o.SizeOfImage, o.SizeOfHeaders, o.FileAlignment, o.CheckSum}
	}
	return header{}
}

func tableEnd(b []byte) int {
	at := int(binary.LittleEndian.Uint32(b[peOffset:]))
	return at + peOptional + int(binary.LittleEndian.Uint16(b[at+peOptionalSize:])) +
		sectionHeader*int(binary.LittleEndian.Uint16(b[at+peSections:]))
}

// What is not a program with room for sections is refused, and never panics.
func TestAddSectionsRefuses(t *testing.T) {
	stub := testStub(t, "amd64")
	add := []section{{".osrel", []byte("x")}}
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(stub)) }
	at := int(binary.LittleEndian.Uint32(stub[peOffset:]))
	for name, in := range map[string][]byte{
		"empty":      nil,
		"no MZ":      change(func(b []byte) []byte { b[0] = 'X'; return b }),
		"no PE":      change(func(b []byte) []byte { b[at] = 'X'; return b }),
		"PE outside": change(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[peOffset:], 1<<31); return b }),
		"cut":        stub[:at+60],
		"cut behind": stub[:0x200],
		"alignment":  change(func(b []byte) []byte { b[at+peOptional+optFileAlignment] = 3; return b }),
		"full table": change(func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[at+peOptional+optHeadersSize:], 0x200)
			return b
		}),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := addSections(in, add); !errors.Is(err, errPE) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	many := make([]section, 60)
	for i := range many {
		many[i] = section{".x", []byte("x")}
	}
	if _, err := addSections(stub, many); err == nil || !strings.Contains(err.Error(), "room") {
		t.Errorf("60 sections: %v", err)
	}
	for _, s := range []section{{".far-too-long", []byte("x")}, {".empty", nil}} {
		if _, err := addSections(stub, []section{s}); err == nil {
			t.Errorf("section %q went through", s.name)
		}
	}
}

// testStub is systemd's, as the build takes it.
func testStub(t *testing.T, goarch string) []byte {
	t.Helper()
	arch, ok := board.ArchOf(goarch)
	if !ok {
		t.Fatalf("no architecture %s", goarch)
	}
	b := &boardBuild{Options: Options{Packages: testPackages(t)}, arch: arch}
	stub, err := b.stub(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stub
}
