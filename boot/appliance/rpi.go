package appliance

import (
	"encoding/hex"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
)

// The files that a Raspberry Pi reads itself.
const (
	rpiFirst   = "bootcode.bin" // a Pi 3's ROM asks for it at the top
	rpiConfig  = "config.txt"
	rpiCmdline = "cmdline.txt"
)

// unserial takes off the folder that a Raspberry Pi puts before every name:
// the last eight digits of its serial number, or its MAC (TFTP_PREFIX=2).
func unserial(name string) (rest string, ok bool) {
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

// elsewhere finds the files of a Raspberry Pi that has no folder of its own in
// the root: at the top, or with its board's firmware.
func (a *Appliance) elsewhere(name string, from netip.Addr) []string {
	rest, ok := unserial(name)
	if !ok && name != rpiFirst || isPlan(rest) {
		return nil
	}
	names := []string{rest}
	for _, b := range a.pis(from) {
		names = append(names, b.File(rest))
	}
	return names
}

// pis are the boards that a Raspberry Pi at an address can be. A Pi 3 has an
// address of another's server without a word that we would hear.
func (a *Appliance) pis(from netip.Addr) []*board.Board {
	if mac, ok := a.who.get(from); ok {
		f, _ := a.heard.get(mac)
		b, ok := board.ByName(f.Board)
		if !ok || b.Pi == "" {
			return nil
		}
		return []*board.Board{b}
	}
	var all []*board.Board
	for _, b := range board.Boards {
		if b.Pi != "" {
			all = append(all, b)
		}
	}
	return all
}

// rpi makes config.txt and cmdline.txt. One config.txt serves all: what stands
// behind [pi4] only a Pi 4 reads.
func (a *Appliance) rpi(name string, from netip.Addr) ([]byte, error) {
	rest, _ := unserial(name)
	self := a.addrFor(from).String()
	s := "arm_64bit=1\nenable_uart=1\nkernel=" + board.Kernel + "\ninitramfs " + board.Initramfs + " followkernel\n"
	some := false
	for _, b := range a.pis(from) {
		if !a.has(b, board.Kernel) {
			continue
		}
		if rest == b.File(rpiCmdline) {
			return []byte(a.cmdline(b, self) + "\n"), nil
		}
		s += "[" + b.Pi + "]\nos_prefix=" + b.File("") + "\n"
		some = true
	}
	if rest != rpiConfig || !some {
		return nil, fs.ErrNotExist
	}
	return []byte(s), nil
}
