package efi

import (
	"encoding/binary"
	"hash/crc32"
)

// seal makes the checksums of the primary header right, where what it says
// lies within d.
func seal(d []byte, block int) {
	le := binary.LittleEndian
	h := d[block:]
	at, n := le.Uint64(h[72:]), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
	if lo := at * uint64(block); at < uint64(len(d)) && n < uint64(len(d)) && lo+n <= uint64(len(d)) {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(d[lo:lo+n]))
	}
	clear(h[16:20])
	if n := uint64(le.Uint32(h[12:])); n <= uint64(block) {
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:n]))
	}
}

// fourK turns a disk of 512-byte blocks into one of 4 KiB.
func fourK(disk []byte) []byte {
	le := binary.LittleEndian
	d := make([]byte, len(disk))
	copy(d[4096:], disk[512:1024])
	copy(d[8192:], disk[1024:1024+128*128])
	for e := d[8192:]; le.Uint64(e[32:]) != 0; e = e[128:] {
		start, last := le.Uint64(e[32:])/8, (le.Uint64(e[40:])+1)/8-1
		le.PutUint64(e[32:], start)
		le.PutUint64(e[40:], last)
	}
	seal(d, 4096)
	return d
}
