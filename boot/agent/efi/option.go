package efi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A LoadOption is what a Boot#### variable holds, EFI_LOAD_OPTION (UEFI 2.10
// section 3.1.3).
type LoadOption struct {
	Attributes  uint32
	Description string
	Path        []Node // device path; of several only the first is kept
	Data        []byte // for the program that is loaded
}

// Active options are taken by the boot manager by itself. Others it only shows.
const Active = 1

// A Node is one element of a device path (UEFI 2.10 section 10.3).
type Node struct {
	Type, SubType byte
	Data          []byte
}

// Types of the nodes that matter here.
const (
	typeMedia   = 0x04 // section 10.3.5
	subHardDisk = 0x01
	subFilePath = 0x04
	typeEnd     = 0x7f
	subEnd      = 0xff
)

var errOption = errors.New("malformed load option")

// ParseLoadOption parses the bytes of a Boot#### variable.
func ParseLoadOption(raw []byte) (*LoadOption, error) {
	if len(raw) < 8 {
		return nil, fmt.Errorf("%w: %d bytes", errOption, len(raw))
	}
	le := binary.LittleEndian
	o := &LoadOption{Attributes: le.Uint32(raw)}
	n := int(le.Uint16(raw[4:]))
	raw = raw[6:]
	end := 0
	for ; end+1 < len(raw) && (raw[end] != 0 || raw[end+1] != 0); end += 2 {
	}
	if end+1 >= len(raw) {
		return nil, fmt.Errorf("%w: description has no end", errOption)
	}
	o.Description = decode16(raw[:end])
	raw = raw[end+2:]
	if n > len(raw) {
		return nil, fmt.Errorf("%w: path of %d bytes in %d", errOption, n, len(raw))
	}
	var err error
	if o.Path, err = parsePath(raw[:n]); err != nil {
		return nil, err
	}
	o.Data = raw[n:]
	return o, nil
}

// Bytes is the inverse of ParseLoadOption.
func (o *LoadOption) Bytes() []byte {
	var path []byte
	for _, n := range append(o.Path, Node{Type: typeEnd, SubType: subEnd}) {
		path = append(path, n.Type, n.SubType)
		path = binary.LittleEndian.AppendUint16(path, uint16(4+len(n.Data)))
		path = append(path, n.Data...)
	}
	b := binary.LittleEndian.AppendUint32(nil, o.Attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(path)))
	b = append(b, encode16(o.Description)...)
	b = append(b, path...)
	return append(b, o.Data...)
}

// parsePath reads nodes up to the first end node.
func parsePath(raw []byte) ([]Node, error) {
	var nodes []Node
	for len(raw) >= 4 {
		n := int(binary.LittleEndian.Uint16(raw[2:]))
		if n < 4 || n > len(raw) {
			return nil, fmt.Errorf("%w: path node of %d bytes in %d", errOption, n, len(raw))
		}
		if raw[0] == typeEnd {
			return nodes, nil
		}
		nodes = append(nodes, Node{raw[0], raw[1], raw[4:n]})
		raw = raw[n:]
	}
	return nil, fmt.Errorf("%w: path has no end", errOption)
}

// A HardDisk names a partition, whichever way its disk is attached (UEFI 2.10
// section 10.3.5.1). A path that begins with it is a short form. The boot
// manager then searches all disks (section 3.1.2).
type HardDisk struct {
	Number      uint32
	Start, Size uint64 // in logical blocks
	GUID        GUID   // of the partition
}

const (
	hardDiskSize  = 38
	formatGPT     = 2
	signatureGUID = 2
)

// HardDisk returns the partition that a node names. It returns false where it is
// another kind of node, or a partition of an MBR.
func (n Node) HardDisk() (HardDisk, bool) {
	d := n.Data
	if n.Type != typeMedia || n.SubType != subHardDisk || len(d) != hardDiskSize || d[36] != formatGPT || d[37] != signatureGUID {
		return HardDisk{}, false
	}
	le := binary.LittleEndian
	return HardDisk{le.Uint32(d), le.Uint64(d[4:]), le.Uint64(d[12:]), GUID(d[20:36])}, true
}

// Node is the inverse of Node.HardDisk.
func (h HardDisk) Node() Node {
	le := binary.LittleEndian
	d := le.AppendUint32(nil, h.Number)
	d = le.AppendUint64(d, h.Start)
	d = le.AppendUint64(d, h.Size)
	d = append(d, h.GUID[:]...)
	return Node{typeMedia, subHardDisk, append(d, formatGPT, signatureGUID)}
}

// FilePath is the node for a file of the partition before it (UEFI 2.10 section
// 10.3.5.4). name has backslashes.
func FilePath(name string) Node { return Node{typeMedia, subFilePath, encode16(name)} }
