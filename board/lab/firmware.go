package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// A Firmware is what a machine runs when it is turned on, before any kernel.
type Firmware string

const (
	BIOS  Firmware = "bios"  // SeaBIOS, and iPXE on the network card
	UEFI  Firmware = "uefi"  // EDK2, with PXE over IPv4
	HTTP  Firmware = "http"  // EDK2, with HTTP Boot and no PXE
	UBoot Firmware = "uboot" // U-Boot, by the order of its own boot command
)

// Firmwares lists what machines of a board can start with, the usual one first.
func Firmwares(b *board.Board) []Firmware {
	q := b.QEMU
	if q == nil {
		return nil
	}
	var all []Firmware
	if q.BIOS {
		all = append(all, BIOS)
	}
	if q.UEFI != "" {
		all = append(all, UEFI)
		if ownDriver(q) {
			all = append(all, HTTP)
		}
	}
	if q.UBoot != "" {
		all = append(all, UBoot)
	}
	return all
}

// ownDriver reports whether UEFI firmware has a driver for the board's network
// card. Debian's has one for virtio only. Other cards have iPXE in their ROM,
// which then boots by itself.
func ownDriver(q *board.QEMU) bool { return strings.HasPrefix(q.NIC, "virtio-") }

// Missing returns an error if this host lacks a program or file that a board's
// machines need to start with a firmware. "" is the board's usual firmware.
func Missing(b *board.Board, f Firmware) error {
	all := Firmwares(b)
	if len(all) == 0 {
		return fmt.Errorf("board %s: QEMU has no such machine", b.Name)
	}
	if f == "" {
		f = all[0]
	}
	if !slices.Contains(all, f) {
		return fmt.Errorf("board %s does not start with %s in QEMU; it does with %q", b.Name, f, all)
	}
	program, err := emulator(b)
	if err != nil {
		return err
	}
	if _, err := lookPath(program); err != nil {
		return fmt.Errorf("%w (Debian packages qemu-system-x86, qemu-system-arm)", err)
	}
	var files []string
	switch f {
	case UEFI, HTTP:
		files = []string{b.QEMU.UEFI, b.QEMU.UEFIVars}
	case UBoot:
		files = []string{b.QEMU.UBoot}
	}
	for _, name := range files {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("find firmware (packages ovmf, qemu-efi-aarch64, u-boot-qemu): %w", err)
		}
	}
	return nil
}

// emulator is the program that runs a board's machines.
func emulator(b *board.Board) (string, error) {
	arch, ok := board.ArchOf(b.Arch)
	if !ok {
		return "", fmt.Errorf("board %s: no architecture %q", b.Name, b.Arch)
	}
	return arch.QEMU, nil
}

// firmware returns QEMU's arguments for the machine's firmware.
func (m *Machine) firmware(dir string) ([]string, error) {
	f := m.Firmware
	if f == "" && m.Kernel == "" {
		f = Firmwares(m.Board)[0]
	}
	q := m.Board.QEMU
	switch f {
	case UBoot:
		return []string{"-bios", q.UBoot}, nil
	case UEFI, HTTP:
	default:
		return nil, nil
	}
	vars, err := m.vars(dir)
	if err != nil {
		return nil, err
	}
	a := []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + comma(q.UEFI),
		"-drive", "if=pflash,unit=1,format=raw,file=" + comma(vars),
	}
	// Otherwise Debian's AAVMF waits 5 s for a key. OVMF does not.
	a = append(a, "-boot", "menu=on,splash-time=0")
	if f == HTTP { // OvmfPkg and ArmVirtPkg read whether to boot by PXE
		a = append(a, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
			"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	}
	return a, nil
}

// vars returns the file of the machine's UEFI variables. If Vars names it, it
// outlives the machine.
func (m *Machine) vars(dir string) (string, error) {
	vars := m.Vars
	if vars == "" {
		vars = filepath.Join(dir, "vars.fd")
	}
	if _, err := os.Stat(vars); err == nil {
		return vars, nil
	}
	if m.Board.QEMU.UEFIVars == "" {
		return "", errors.New("make UEFI variables: the board has none")
	}
	blank, err := os.ReadFile(m.Board.QEMU.UEFIVars)
	if err != nil {
		return "", fmt.Errorf("read blank UEFI variables: %w", err)
	}
	if err := os.WriteFile(vars, blank, 0o600); err != nil {
		return "", fmt.Errorf("make UEFI variables: %w", err)
	}
	return vars, nil
}
