package loaders

import (
	"encoding/hex"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// The files that a Raspberry Pi reads itself.
const (
	PiBootcode = "bootcode.bin" // a Pi 3's ROM asks for it at the top
	PiConfig   = "config.txt"
	piCmdline  = "cmdline.txt"
)

// WithoutPiFolder takes off the folder that a Raspberry Pi puts before every
// name: the last eight digits of its serial number, or its MAC (TFTP_PREFIX=2).
// ok is false where there is none.
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

// Pi is the file of that name for a Raspberry Pi that may be each of the given
// boards, of those whose kernel is there. It is nil where the Pi asks for
// something that is not made: only config.txt and cmdline.txt are. One
// config.txt serves all boards, since what stands behind [pi4] only a Pi 4
// reads.
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
