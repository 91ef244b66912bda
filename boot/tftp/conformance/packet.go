package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Opcodes, RFC 1350 section 5 and RFC 2347.
const (
	OpRRQ = 1 + iota
	OpWRQ
	OpDATA
	OpACK
	OpERROR
	OpOACK
)

const (
	HeaderLen      = 4   // bytes before the payload of a DATA
	DefaultBlksize = 512 // bytes, where no option was granted: RFC 1350 section 2
)

// A Packet is what a server said.
type Packet struct {
	Op      uint16
	Block   uint16            // of DATA and ACK; the code of an ERROR
	Data    []byte            // of DATA
	Options map[string]string // of an OACK, names in lower case
	Text    string            // of an ERROR
}

// String tells the packet in words, for verdicts.
func (k Packet) String() string {
	switch k.Op {
	case OpDATA:
		return fmt.Sprintf("DATA %d (%d bytes)", k.Block, len(k.Data))
	case OpACK:
		return fmt.Sprintf("ACK %d", k.Block)
	case OpERROR:
		return fmt.Sprintf("ERROR %d %q", k.Block, k.Text)
	case OpOACK:
		var s []string
		for _, name := range slices.Sorted(maps.Keys(k.Options)) {
			s = append(s, name+" "+k.Options[name])
		}
		return fmt.Sprintf("OACK (%s)", strings.Join(s, ", "))
	}
	return fmt.Sprintf("opcode %d", k.Op)
}

// Parse reads a server's packet: RFC 1350 section 5, RFC 2347 for an OACK.
// It is strict. A server's packets have no excuse. Data refers to b.
func Parse(b []byte) (Packet, error) {
	if len(b) < 2 {
		return Packet{}, fmt.Errorf("a packet of %d bytes", len(b))
	}
	k := Packet{Op: binary.BigEndian.Uint16(b)}
	if k.Op == OpOACK {
		return k, k.parseOptions(b[2:])
	}
	if len(b) < HeaderLen {
		return k, fmt.Errorf("opcode %d in a packet of %d bytes", k.Op, len(b))
	}
	k.Block = binary.BigEndian.Uint16(b[2:])
	switch k.Op {
	case OpDATA:
		k.Data = b[HeaderLen:]
	case OpACK:
	case OpERROR:
		text, rest, ok := bytes.Cut(b[HeaderLen:], []byte{0})
		if k.Text = string(text); !ok || len(rest) > 0 {
			return k, fmt.Errorf("ERROR %d whose text %q does not end in NUL", k.Block, b[HeaderLen:])
		}
	default:
		return k, fmt.Errorf("opcode %d", k.Op)
	}
	return k, nil
}

func (k *Packet) parseOptions(b []byte) error {
	fields := strings.Split(string(b), "\x00")
	if len(fields)%2 == 0 || fields[len(fields)-1] != "" {
		return fmt.Errorf("malformed OACK %q", b)
	}
	k.Options = map[string]string{}
	for f := fields[:len(fields)-1]; len(f) > 0; f = f[2:] {
		name := strings.ToLower(f[0])
		if _, twice := k.Options[name]; twice {
			return fmt.Errorf("OACK with %s twice", name)
		}
		k.Options[name] = f[1]
	}
	return nil
}

// AppendRequest makes an RRQ or a WRQ. Options are names, each with its value.
func AppendRequest(b []byte, op uint16, name, mode string, options ...string) []byte {
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, name...), 0)
	b = append(append(b, mode...), 0)
	for _, s := range options {
		b = append(append(b, s...), 0)
	}
	return b
}

// AppendHeader makes the four bytes that DATA, ACK and ERROR begin with.
func AppendHeader(b []byte, op, block uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, op), block)
}
