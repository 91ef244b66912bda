//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Opcodes, RFC 1350 section 5 and RFC 2347.
const (
	opRRQ   = 1
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

const (
	headerLen      = 4   // of DATA and ACK
	defaultBlksize = 512 // where no option was granted
)

// appendRRQ makes a request for a file in octet mode. A blksize of 512 and a
// windowsize of 1 are what holds without options: they are not asked for.
func appendRRQ(b []byte, name string, blksize, windowsize int) []byte {
	b = binary.BigEndian.AppendUint16(b, opRRQ)
	add := func(s string) { b = append(append(b, s...), 0) }
	add(name)
	add("octet")
	if blksize != defaultBlksize {
		add("blksize")
		add(strconv.Itoa(blksize))
	}
	if windowsize != 1 {
		add("windowsize")
		add(strconv.Itoa(windowsize))
	}
	return b
}

func appendACK(b []byte, block uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, opACK), block)
}

// parseOACK returns what a server granted, or what holds without.
func parseOACK(p []byte) (blksize, windowsize int, err error) {
	blksize, windowsize = defaultBlksize, 1
	words := bytes.Split(p[2:], []byte{0})
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.Atoi(string(words[i+1]))
		if err != nil {
			return 0, 0, fmt.Errorf("OACK: option %q is %q", words[i], words[i+1])
		}
		switch strings.ToLower(string(words[i])) {
		case "blksize":
			blksize = n
		case "windowsize":
			windowsize = n
		}
	}
	return blksize, windowsize, nil
}

// errorText is what an ERROR packet says.
func errorText(p []byte) string {
	if len(p) < headerLen {
		return "ERROR without a code"
	}
	text, _, _ := bytes.Cut(p[headerLen:], []byte{0})
	return fmt.Sprintf("ERROR %d %q", binary.BigEndian.Uint16(p[2:]), text)
}
