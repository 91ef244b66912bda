package kexec

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/u-root/u-root/pkg/boot/image"
	"github.com/u-root/u-root/pkg/boot/kexec"
	"github.com/u-root/u-root/pkg/dt"
)

// What an arm64 kernel asks of who starts it, in bytes (Linux,
// Documentation/arch/arm64/booting.rst).
const (
	kernelAlign = 2 << 20  // a multiple of this, and text_offset, is where it starts
	window      = 32 << 30 // kernel and initrd lie in a piece of memory of this size
	windowAlign = 1 << 30  // that starts at a multiple of this
	treeMost    = 2 << 20
	imageMost   = 1 << 30 // not of that text: where a header must be wrong
)

// layout finds places for kernel, initrd and the device tree. initrd may be
// empty. In front of the tree lies the code at which all starts. layout changes
// the tree.
func layout(memory kexec.MemoryMap, tree *dt.FDT, kernel, initrd []byte, cmdline string) (entry uintptr, segments []kexec.Segment, err error) {
	if err := raw(kernel); err != nil {
		return 0, nil, err
	}
	img, err := image.ParseFromBytes(kernel)
	if err != nil {
		return 0, nil, fmt.Errorf("not a kernel for arm64: %w", err)
	}
	h := img.Header
	if h.ImageSize > imageMost || h.TextOffset >= kernelAlign {
		return 0, nil, errors.New("not a kernel for arm64: its header does not fit it")
	}
	p := &places{memory: memory}
	kernelAt, err := p.add("the kernel", kernel, h.ImageSize, kernelAlign, h.TextOffset, 0, math.MaxUint64)
	if err != nil {
		return 0, nil, err
	}
	if len(initrd) == 0 && efi(tree) {
		// EFI's tables still have the initrd that this kernel was started
		// with, which the next one would take. Zeros are an archive of nothing.
		initrd = make([]byte, 512)
	}
	var initrdAt uint64
	if len(initrd) > 0 {
		from := kernelAt &^ (windowAlign - 1)
		if initrdAt, err = p.add("the initrd", initrd, 0, 1, 0, from, from+window); err != nil {
			return 0, nil, err
		}
	}
	blob, err := chosen(tree, initrdAt, uint64(len(initrd)), cmdline)
	if err != nil {
		return 0, nil, fmt.Errorf("device tree: %w", err)
	}
	code := make([]byte, codeSize, codeSize+len(blob))
	at, err := p.add("the device tree", append(code, blob...), 0, 1, 0, 0, math.MaxUint64)
	if err != nil {
		return 0, nil, err
	}
	jump(p.segments[len(p.segments)-1].Buf, at+codeSize, kernelAt)
	return uintptr(at), p.segments, nil
}

// raw refuses the kinds of kernel file that are one for arm64 all the same.
func raw(kernel []byte) error {
	kind := ""
	switch {
	case bytes.HasPrefix(kernel, []byte{0x1f, 0x8b}):
		kind = "compressed by gzip"
	case bytes.HasPrefix(kernel, []byte("MZ\x00\x00zimg")):
		kind = "a compressed EFI program (CONFIG_EFI_ZBOOT)"
	default:
		return nil
	}
	return fmt.Errorf("the kernel is %s: here it has to be the plain file that is named Image where kernels are built", kind)
}

// efi reports whether a kernel finds EFI's tables by a device tree.
func efi(tree *dt.FDT) bool {
	node, ok := tree.RootNode.LookupChildByName("chosen")
	if ok {
		_, ok = node.LookProperty("linux,uefi-system-table")
	}
	return ok
}

// chosen writes initrd and command line into the device tree, and returns the
// tree as the kernel reads it. An initrd without a size is left out.
func chosen(tree *dt.FDT, initrdAt, initrdSize uint64, cmdline string) ([]byte, error) {
	node, ok := tree.RootNode.LookupChildByName("chosen")
	if !ok {
		node = dt.NewNode("chosen")
		tree.RootNode.Children = append(tree.RootNode.Children, node)
	}
	for _, old := range []string{
		"bootargs", "linux,initrd-start", "linux,initrd-end",
		"linux,elfcorehdr", "linux,usable-memory-range", // of a kernel for crashes
	} {
		node.RemoveProperty(old)
	}
	if cmdline != "" {
		node.Update(dt.PropertyString("bootargs", cmdline))
	}
	if initrdSize > 0 {
		node.Update(dt.PropertyU64("linux,initrd-start", initrdAt))
		node.Update(dt.PropertyU64("linux,initrd-end", initrdAt+initrdSize))
	}
	// This kernel has used up the firmware's.
	for name, size := range map[string]int{"kaslr-seed": 8, "rng-seed": 64} {
		seed := make([]byte, size)
		rand.Read(seed)
		node.UpdateProperty(name, seed)
	}
	var blob bytes.Buffer
	if _, err := tree.Write(&blob); err != nil {
		return nil, err
	}
	if blob.Len() > treeMost {
		return nil, fmt.Errorf("%d bytes, of which a kernel takes %d", blob.Len(), treeMost)
	}
	return blob.Bytes(), nil
}

// codeSize puts the device tree, behind the code, at a multiple of 8 bytes.
const codeSize = 64

// jump writes the code that the old kernel jumps to. It puts the address of the
// device tree into x0 and zero into x1 to x3. Then it goes on at the kernel.
func jump(code []byte, tree, kernel uint64) {
	for i, instruction := range []uint32{
		0xaa1f03e1, // mov x1, xzr
		0xaa1f03e2, // mov x2, xzr
		0xaa1f03e3, // mov x3, xzr
		0x58000060, // ldr x0, 24
		0x58000084, // ldr x4, 32
		0xd61f0080, // br x4
	} {
		binary.LittleEndian.PutUint32(code[4*i:], instruction)
	}
	binary.LittleEndian.PutUint64(code[24:], tree)
	binary.LittleEndian.PutUint64(code[32:], kernel)
}
