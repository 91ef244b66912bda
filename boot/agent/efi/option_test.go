package efi

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// golden is a load option written out by hand from UEFI 2.10 sections 3.1.3,
// 10.3.5.1, 10.3.5.4 and 10.3.1.
const golden = `
01000000                                                 attributes: active
5e00                                                     path of 94 bytes
42006f006f0074006c0061006300650020006400690073006b000000 "Bootlace disk"
04012a00                                                 media, hard disk, 42 bytes
01000000                                                 partition 1
0008000000000000                                         from block 2048
0080000000000000                                         32768 blocks
67452301ab89efcd0123456789abcdef                         GUID
0202                                                     GPT, signature is a GUID
04043000                                                 media, file path, 48 bytes
5c004500460049005c0042004f004f0054005c00                 \EFI\BOOT\
42004f004f0054005800360034002e004500460049000000         BOOTX64.EFI
7fff0400                                                 end
`

// unhex reads the first word of every line.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(s) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(word)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

var goldenGUID = GUID{0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}

func TestLoadOptionGolden(t *testing.T) {
	want := unhex(t, golden)
	h := HardDisk{Number: 1, Start: 2048, Size: 32768, GUID: goldenGUID}
	o := LoadOption{Attributes: Active, Description: "Bootlace disk", Path: []Node{h.Node(), FilePath(`\EFI\BOOT\BOOTX64.EFI`)}}
	if got := o.Bytes(); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	back, err := ParseLoadOption(want)
	if err != nil {
		t.Fatal(err)
	}
	if back.Attributes != Active || back.Description != "Bootlace disk" || len(back.Path) != 2 {
		t.Errorf("parsed: %+v", back)
	}
	if got, ok := back.Path[0].HardDisk(); !ok || got != h {
		t.Errorf("hard disk: %+v, %v", got, ok)
	}
	if got := h.GUID.String(); got != espGUID {
		t.Errorf("GUID %s", got)
	}
}

func TestParseLoadOptionRefuses(t *testing.T) {
	good := unhex(t, golden)
	for n := range good {
		if _, err := ParseLoadOption(good[:n]); !errors.Is(err, errOption) {
			t.Fatalf("first %d bytes: error %v", n, err)
		}
	}
	for name, at := range map[string]int{"node shorter than its header": 36, "node longer than the path": 37} {
		t.Run(name, func(t *testing.T) {
			bad := bytes.Clone(good)
			bad[at] = map[bool]byte{true: 3, false: 0xff}[at == 36]
			if _, err := ParseLoadOption(bad); !errors.Is(err, errOption) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestHardDiskOfOtherNodes(t *testing.T) {
	mbr := HardDisk{}.Node()
	mbr.Data[36], mbr.Data[37] = 1, 1
	for _, n := range []Node{{}, {typeMedia, subHardDisk, nil}, FilePath("x"), mbr} {
		t.Run(fmt.Sprintf("%+v", n), func(t *testing.T) {
			if h, ok := n.HardDisk(); ok {
				t.Errorf("taken for %+v", h)
			}
		})
	}
}

func FuzzParseLoadOption(f *testing.F) {
	f.Add(unhex(f, golden))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := ParseLoadOption(raw)
		if err != nil {
			return
		}
		for _, n := range o.Path {
			n.HardDisk()
		}
		// What was understood is written so that it is understood again.
		back, err := ParseLoadOption(o.Bytes())
		if err != nil || !reflect.DeepEqual(o.Path, back.Path) || o.Description != back.Description || !bytes.Equal(o.Data, back.Data) {
			t.Errorf("%+v became %+v, %v", o, back, err)
		}
	})
}
