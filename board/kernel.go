package board

import _ "embed"

// A KernelFlavour is a kernel that `mkboot kernel` compiles from Debian's
// source, with the initramfs inside. The result is one file, which is both a
// kernel image and an EFI program.
type KernelFlavour struct {
	Name   string // as in `mkboot kernel NAME`
	Doc    string // one line
	Arch   string // name of a row in Arches that has a Kbuild
	Source string // Debian package of the source

	// Options are the lines of .config that turn something on. Everything else
	// is off, as far as it can be. Command line and initramfs are added.
	Options []byte

	Board string // default board whose firmware it becomes
}

//go:embed x86_64-tiny.config
var tinyOptions []byte

// KernelFlavours is the table of such kernels.
var KernelFlavours = []*KernelFlavour{{
	Name:    "x86_64-tiny",
	Doc:     "PC or virtual machine of 64 MB: virtio, Intel and Realtek cards; virtio, AHCI, NVMe, USB and SD disks",
	Arch:    amd64.Name,
	Source:  "linux-source",
	Options: tinyOptions,
	Board:   "pc-x86_64",
}}
