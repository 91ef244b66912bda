package board

import _ "embed"

// A Config is a kernel that `mkboot kernel` builds from Debian's source, with
// the initramfs inside: one file that is a kernel image and an EFI program.
type Config struct {
	Name   string // as in `mkboot kernel NAME`
	Doc    string // one line
	Arch   string // GOARCH; amd64 alone has such images
	Source string // Debian package of the source

	// Options is what is on, as lines of a .config; all else is off, as far as
	// it can be. Command line and initramfs are added.
	Options []byte

	Board string // whose firmware it becomes unless someone says otherwise
}

//go:embed x86_64-tiny.config
var tinyOptions []byte

// Configs is the table of such kernels.
var Configs = []*Config{{
	Name:    "x86_64-tiny",
	Doc:     "PC or virtual machine of 64 MB: virtio, Intel and Realtek cards; virtio, AHCI, NVMe, USB and SD disks",
	Arch:    "amd64",
	Source:  "linux-source",
	Options: tinyOptions,
	Board:   "pc-x86_64",
}}
