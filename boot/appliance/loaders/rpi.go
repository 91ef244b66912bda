package loaders

import (
	"encoding/hex"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// Files that a Raspberry Pi's firmware reads.
const (
	PiBootcode = "bootcode.bin" // a Pi 3's ROM requests it without a folder
	PiConfig   = "config.txt"
	piCmdline  = "cmdline.txt"
)

// WithoutPiFolder removes the folder that a Raspberry Pi puts before every
// name. It is the last eight digits of its serial number, or its MAC
// (TFTP_PREFIX=2). ok is false where there is none.
func WithoutPiFolder(name string) (rest string, ok bool) {
	folder, rest, ok := strings.Cut(name, "/")
	if !ok {
		return name, false
	}
	if _, err := boot.ParseMAC(folder); err == nil {
		return rest, true
	}
	if _, err := hex.DecodeString(folder); err == nil && len(folder) == 8 {
		return rest, true
	}
	return name, false
}

// Pi makes a file for a Raspberry Pi that may be any of these boards. Each
// board has a kernel in the root. The result is nil for names other than
// config.txt and cmdline.txt. One config.txt serves all boards: only a Pi 4
// reads the lines after [pi4].
func Pi(name string, boots []Boot) []byte {
	s := "arm_64bit=1\nenable_uart=1\nkernel=" + board.Kernel + "\ninitramfs " + board.Initramfs + " followkernel\n"
	for _, b := range boots {
		if name == b.Board.File(piCmdline) {
			return []byte(b.Cmdline() + "\n")
		}
		s += "[" + b.Board.Pi + "]\nos_prefix=" + b.Board.File("") + "\n"
	}
	if name != PiConfig || len(boots) == 0 {
		return nil
	}
	return []byte(s)
}
