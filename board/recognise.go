package board

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
)

// Recognise returns the board that a machine is taken for and the loader that
// asks. Either is nil if no row of its table fits.
func Recognise(t Traits) (*Board, *Loader) {
	board := recognise(t)
	for _, l := range Loaders {
		if l.Is(t) {
			return board, l
		}
	}
	return board, nil
}

// recognise finds the board. Our agent names it. Otherwise the machine's UUID
// tells, if the firmware put a name in it. Then the network card and its MAC
// count, and last the architecture alone.
func recognise(t Traits) *Board {
	if name, ok := strings.CutPrefix(t.VendorClass, AgentVendorPrefix); ok {
		b, _ := ByName(name)
		return b
	}
	for _, b := range Boards {
		if b.GUID != "" && bytes.HasPrefix(t.GUID, []byte(b.GUID)) {
			return b
		}
	}
	for _, b := range Boards {
		if slices.Contains(b.Clients, t.Client) && b.has(t) {
			return b
		}
	}
	return nil
}

// has reports whether the network card and its MAC may be this board's.
func (b *Board) has(t Traits) bool {
	if len(b.NICs) > 0 && t.NIC != 0 && !slices.Contains(b.NICs, t.NIC) {
		return false
	}
	return len(b.OUIs) == 0 || slices.ContainsFunc(b.OUIs, func(oui string) bool { return strings.HasPrefix(mac(t.MAC), oui) })
}

// mac formats a MAC as in the table: 52:54:00.
func mac(b []byte) string {
	var parts []string
	for _, c := range b {
		parts = append(parts, hex.EncodeToString([]byte{c}))
	}
	return strings.Join(parts, ":")
}
