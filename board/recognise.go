package board

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
)

// Recognise tells the board a machine is taken for and the loader that asks.
// Either is nil where nothing in the tables fits.
func Recognise(t Traits) (*Board, *Loader) {
	board := recognise(t)
	for _, l := range Loaders {
		if l.Is(t) {
			return board, l
		}
	}
	return board, nil
}

// recognise finds the board: by the name our agent gives; by what the firmware
// wrote into the machine's UUID; by the card and its address; and where none
// of that is known, by the architecture alone.
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

// has reports whether the card and its address are such as this board has.
func (b *Board) has(t Traits) bool {
	if len(b.NICs) > 0 && t.NIC != 0 && !slices.Contains(b.NICs, t.NIC) {
		return false
	}
	return len(b.OUIs) == 0 || slices.ContainsFunc(b.OUIs, func(oui string) bool { return strings.HasPrefix(mac(t.MAC), oui) })
}

// mac writes an address as it stands in the table.
func mac(b []byte) string {
	var parts []string
	for _, c := range b {
		parts = append(parts, hex.EncodeToString([]byte{c}))
	}
	return strings.Join(parts, ":")
}
