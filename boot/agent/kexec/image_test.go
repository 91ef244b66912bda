package kexec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/boot/kexec"
	"github.com/u-root/u-root/pkg/dt"
)

const mib = 1 << 20

// arm64Image returns a kernel of size bytes in all that wants imageSize of them.
func arm64Image(size int, textOffset, imageSize uint64) []byte {
	k := make([]byte, size)
	binary.LittleEndian.PutUint64(k[0x08:], textOffset)
	binary.LittleEndian.PutUint64(k[0x10:], imageSize)
	copy(k[0x38:], "ARM\x64")
	return k
}

// ram returns memory from start to end for each two addresses.
func ram(addrs ...uint64) (m kexec.MemoryMap) {
	for ; len(addrs) > 0; addrs = addrs[2:] {
		m.Insert(kexec.TypedRange{Range: kexec.RangeFromInterval(uintptr(addrs[0]), uintptr(addrs[1])), Type: kexec.RangeRAM})
	}
	return m
}

// efiTree is all that Linux's EFI stub passes on with ACPI.
func efiTree() *dt.FDT {
	return &dt.FDT{
		Header: dt.Header{Magic: dt.Magic, Version: 17, LastCompVersion: 16},
		RootNode: dt.NewNode("", dt.WithChildren(dt.NewNode("chosen", dt.WithProperty(
			dt.PropertyString("bootargs", "of the last kernel"),
			dt.PropertyU64("linux,initrd-start", 1),
			dt.PropertyU64("linux,initrd-end", 2),
			dt.PropertyU64("linux,uefi-system-table", 0x5f000018),
			dt.PropertyU64("kaslr-seed", 0),
		)))),
	}
}

// A layoutTest is memory and files, and where they have to lie.
type layoutTest struct {
	name           string
	memory         kexec.MemoryMap
	text, size     uint64
	initrd         []byte
	plain          bool   // no EFI
	kernel, ramfs  uint64 // where they have to be
	tree           uint64
	wrong, cmdline string
}

func TestLayout(t *testing.T) {
	if math.MaxUint == math.MaxUint32 {
		t.Skip("addresses of arm64 do not fit")
	}
	const gib = 1 << 30
	initrd := bytes.Repeat([]byte{7}, 3*mib+1)
	for _, tt := range []layoutTest{
		{name: "one piece", memory: ram(0x40000000, 0x50000000), size: 10 * mib, initrd: initrd, cmdline: "a=b",
			kernel: 0x40000000, ramfs: 0x40a00000, tree: 0x40d01000},
		{name: "text offset", memory: ram(0x40080000, 0x50000000), text: 0x80000, size: 10 * mib, initrd: initrd,
			kernel: 0x40080000, ramfs: 0x40a80000, tree: 0x40d81000},
		{name: "low text offset", memory: ram(0, 0x10000000), text: 0x80000, size: 10 * mib, plain: true, kernel: 0x80000, tree: 0},
		{name: "no initrd", memory: ram(0x40000000, 0x50000000), size: 10 * mib, plain: true, kernel: 0x40000000, tree: 0x40a00000},
		{name: "no initrd, EFI", memory: ram(0x40000000, 0x50000000), size: 10 * mib, kernel: 0x40000000, ramfs: 0x40a00000, tree: 0x40a01000},
		// Pieces that end before the next multiple of 2 MiB, or within a page.
		{name: "pieces", memory: ram(0x40100000, 0x40180000, 0x40201018, 0x40240018, 0x40300800, 0x50000000), size: 10 * mib, initrd: initrd,
			kernel: 0x40400000, ramfs: 0x40e00000, tree: 0x40100000},
		{name: "kernel above, initrd near", memory: ram(0, 8*mib, 64*gib, 65*gib), size: 10 * mib, initrd: initrd,
			kernel: 64 * gib, ramfs: 64*gib + 10*mib, tree: 0},
		{name: "initrd too far", memory: ram(0, 12*mib, 32*gib, 33*gib), size: 10 * mib, initrd: initrd, wrong: "no place for the initrd: it needs 4 MiB of memory in one piece"},
		{name: "too small", memory: ram(0x40000000, 0x409fffff), size: 10 * mib, wrong: "no place for the kernel: it needs 10 MiB"},
		{name: "no memory", wrong: "no place for the kernel", size: 10 * mib},
		{name: "image size", memory: ram(0, gib), size: math.MaxUint64, wrong: "not a kernel for arm64"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func (tt layoutTest) run(t *testing.T) {
	before := append(kexec.MemoryMap(nil), tt.memory...)
	kernel := arm64Image(9*mib, tt.text, tt.size)
	tree := efiTree()
	if tt.plain {
		tree.RootNode.Children[0].RemoveProperty("linux,uefi-system-table")
	}
	entry, segments, err := layout(tt.memory, tree, kernel, tt.initrd, tt.cmdline)
	if tt.wrong != "" {
		if err == nil || !strings.Contains(err.Error(), tt.wrong) {
			t.Fatalf("error %v, want %q", err, tt.wrong)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	checkSegments(t, before.RAM(), segments)
	k := segments[0]
	if uint64(k.Phys.Start) != tt.kernel || uint64(k.Phys.Size) != tt.size || &k.Buf[0] != &kernel[0] {
		t.Errorf("kernel at %v, want %#x", k, tt.kernel)
	}
	if tt.initrd != nil && (uint64(segments[1].Phys.Start) != tt.ramfs || &segments[1].Buf[0] != &tt.initrd[0]) {
		t.Errorf("initrd at %v, want %#x", segments[1], tt.ramfs)
	}
	size := len(tt.initrd)
	if tt.initrd == nil && !tt.plain {
		size = len(segments[1].Buf)
		if size == 0 || len(bytes.Trim(segments[1].Buf, "\x00")) > 0 {
			t.Errorf("in place of the initrd: %v, want zeros", segments[1])
		}
	}
	last := segments[len(segments)-1]
	if uint64(entry) != tt.tree || entry != last.Phys.Start {
		t.Errorf("entry %#x, segment %v, want %#x", entry, last, tt.tree)
	}
	if at := binary.LittleEndian.Uint64(last.Buf[24:]); at != tt.tree+codeSize {
		t.Errorf("the code has the device tree at %#x", at)
	}
	if at := binary.LittleEndian.Uint64(last.Buf[32:]); at != tt.kernel {
		t.Errorf("the code has the kernel at %#x", at)
	}
	checkTree(t, last.Buf[codeSize:], tt.cmdline, tt.ramfs, uint64(size))
	if tt.plain == bytes.Contains(last.Buf, []byte("linux,uefi-system-table")) {
		t.Errorf("EFI in the device tree, with plain %t", tt.plain)
	}
}

// checkSegments holds what kexec_load(2) demands, and that nothing lies in what
// is not free.
func checkSegments(t *testing.T, ram kexec.Ranges, segments kexec.Segments) {
	t.Helper()
	for i, s := range segments {
		if s.Phys.Start%4096 != 0 || s.Phys.Size%4096 != 0 || uint(len(s.Buf)) > s.Phys.Size {
			t.Errorf("segment %v: not of whole pages", s)
		}
		inside := false
		for _, r := range ram {
			inside = inside || r.IsSupersetOf(s.Phys)
		}
		if !inside {
			t.Errorf("segment %v: not free memory", s)
		}
		for _, o := range segments[:i] {
			if s.Phys.Overlaps(o.Phys) {
				t.Errorf("segments %v and %v overlap", o, s)
			}
		}
	}
}

// checkTree reads a tree as the kernel does. Another node than chosen would
// have it leave ACPI alone.
func checkTree(t *testing.T, blob []byte, cmdline string, at, size uint64) {
	t.Helper()
	tree, err := dt.ReadFDT(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	if n := tree.RootNode.Children; len(n) != 1 || n[0].Name != "chosen" {
		t.Fatalf("nodes %v", n)
	}
	chosen := tree.RootNode.Children[0]
	u64 := func(name string) (n uint64) {
		if p, ok := chosen.LookProperty(name); ok {
			n, _ = p.AsU64()
		}
		return n
	}
	if u64("kaslr-seed") == 0 {
		t.Error("no seed")
	}
	args := ""
	if p, ok := chosen.LookProperty("bootargs"); ok {
		args, _ = p.AsString()
	}
	if args != cmdline {
		t.Errorf("command line %q, want %q", args, cmdline)
	}
	end := at + size
	if size == 0 {
		at, end = 0, 0
	}
	if u64("linux,initrd-start") != at || u64("linux,initrd-end") != end {
		t.Errorf("initrd from %#x to %#x, want %#x to %#x", u64("linux,initrd-start"), u64("linux,initrd-end"), at, end)
	}
}

// A tree without /chosen gets one; one that is too large is refused.
func TestChosen(t *testing.T) {
	tree := efiTree()
	tree.RootNode.Children = nil
	blob, err := chosen(tree, 0, 0, "x")
	if err != nil || !bytes.Contains(blob, []byte("chosen\x00")) {
		t.Errorf("%q, %v", blob, err)
	}
	if _, err := chosen(efiTree(), 0, 0, strings.Repeat("x", treeMost)); err == nil {
		t.Error("a tree of more than 2 MiB")
	}
}

func TestLayoutRefuses(t *testing.T) {
	for kernel, want := range map[string]string{
		"\x1f\x8b\x08\x00rest":    "compressed by gzip",
		"MZ\x00\x00zimg":          "CONFIG_EFI_ZBOOT",
		strings.Repeat("no", 500): "not a kernel for arm64",
		"":                        "not a kernel for arm64",
	} {
		t.Run(fmt.Sprintf("%.8q", kernel), func(t *testing.T) {
			_, _, err := layout(ram(0, 64*mib), efiTree(), []byte(kernel), nil, "")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}
