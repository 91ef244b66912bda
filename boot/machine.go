package boot

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"
)

// A MAC is an Ethernet address, comparable and usable as a map key.
type MAC [6]byte

// ParseMAC reads the forms that firmware writes: aa:bb:…, aa-bb-…
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("parse MAC %q: want six hex bytes like 52:54:00:12:34:56", s)
	}
	return MAC(hw), nil
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Hyphens writes the form of iPXE's ${mac:hexhyp} and of our plan names:
// 52-54-00-12-34-56.
func (m MAC) Hyphens() string { return strings.ReplaceAll(m.String(), ":", "-") }

// Station reports whether one machine can have the address. Group addresses and
// all zeros are no machine's.
func (m MAC) Station() bool { return m[0]&1 == 0 && m != MAC{} }

// MarshalText and UnmarshalText make a MAC a string in JSON and YAML.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}

// A UUID is a machine's SMBIOS UUID, the 16 bytes of option 97 in wire order.
type UUID [16]byte

func (u UUID) String() string {
	// SMBIOS 3 section 7.2.1: the first three fields are little endian.
	h := hex.EncodeToString([]byte{u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]})
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseUUID reads the form that String writes and dmidecode prints.
func ParseUUID(s string) (UUID, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return UUID{}, fmt.Errorf("parse UUID %q: want 32 hex digits", s)
	}
	return UUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}, nil
}

// Known reports whether the UUID tells machines apart. Boards without one send
// all zeros or all ones.
func (u UUID) Known() bool {
	return u != UUID{} && u != UUID{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}
}

// MarshalText makes a UUID a string in JSON and YAML.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	if err == nil {
		*u = v
	}
	return err
}

// A Machine is what the appliance remembers of one device. MACs, UUID and
// serial are aliases of its ID, since machines share the MACs of adapters and
// docks.
type Machine struct {
	ID      string    `json:"id"` // 16 hex digits, drawn when the machine was first heard
	MACs    []MAC     `json:"macs"`
	UUID    *UUID     `json:"uuid,omitempty"` // nil unless it tells machines apart
	Serial  string    `json:"serial,omitempty"`
	Board   string    `json:"board,omitempty"`
	Seen    time.Time `json:"seen"`
	Flashed *Flashed  `json:"flashed,omitempty"`
	Wanted  *Wanted   `json:"wanted,omitempty"`
}

// Flashed is the last flash that a machine finished.
type Flashed struct {
	Job            string    `json:"job"`
	Image          string    `json:"image"`
	ManifestSHA256 string    `json:"manifest_sha256"`
	Disk           string    `json:"disk"` // the disk's serial number, "" where it has none
	Time           time.Time `json:"time"`
}

// Wanted is a person's order that is not carried out yet.
type Wanted struct {
	Order
	Job string `json:"job"` // drawn with the order, so that one order is one job
}
