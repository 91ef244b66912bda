package efi

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newVars is a folder that stands for efivarfs: the same names and contents.
func newVars(t *testing.T, options map[string]*LoadOption) Vars {
	t.Helper()
	v := Vars(t.TempDir())
	// Every firmware has some, and other vendors' are beside them.
	put(t, v, "SecureBoot"+global, []byte{0})
	put(t, v, "Boot0042-12345678-0000-0000-0000-000000000000", []byte("not ours"))
	for name, o := range options {
		put(t, v, name+global, o.Bytes())
	}
	return v
}

func put(t *testing.T, v Vars, file string, value []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(v), file), append([]byte{7, 0, 0, 0}, value...), 0o644); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, v Vars, name string) string {
	t.Helper()
	raw, err := v.get(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}

func option1(guid GUID, attributes uint32, description string) *LoadOption {
	pci := Node{1, 1, []byte{0, 3}} // a full path begins with the controller
	return &LoadOption{attributes, description, []Node{pci, HardDisk{9, 1, 2, guid}.Node(), FilePath(`\EFI\debian\shimx64.efi`)}, []byte("data")}
}

func TestBootNextMakesAnEntryAndUsesItAgain(t *testing.T) {
	disk := bytes.NewReader(newDisk(t, table))
	v := newVars(t, map[string]*LoadOption{
		"Boot0000": {Attributes: Active, Description: "UEFI PXEv4", Path: []Node{{1, 1, []byte{0, 2}}}},
		"Boot0002": option1(GUID{1}, Active, "another disk"),
	})
	put(t, v, "BootOrder"+global, []byte{0, 0, 2, 0})
	put(t, v, "Boot0003"+global, []byte("garbage"))

	e, err := BootNext(v, disk, diskSize, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Entry{"Boot0001", description}); e != want {
		t.Errorf("got %+v, want %+v", e, want)
	}
	if got := value(t, v, "Boot0001"); got != string(unhex(t, golden)) {
		t.Errorf("Boot0001 = %x", got)
	}
	if got := value(t, v, "BootNext"); got != "\x01\x00" {
		t.Errorf("BootNext = %x", got)
	}
	if got := value(t, v, "BootOrder"); got != "\x00\x00\x02\x00" {
		t.Errorf("BootOrder = %x: it is not ours to change", got)
	}

	e, err = BootNext(v, disk, diskSize, "amd64")
	if want := (Entry{"Boot0001", description}); err != nil || e != want {
		t.Errorf("second time: %+v, %v; want %+v", e, err, want)
	}

	// The disk is flashed with something else: the same number, so that the
	// store does not fill up.
	other := bytes.NewReader(newDisk(t, strings.ReplaceAll(table, espGUID, rootGUID[:35]+"0")))
	e, err = BootNext(v, other, diskSize, "arm64")
	if want := (Entry{"Boot0001", description}); err != nil || e != want {
		t.Errorf("another image: %+v, %v; want %+v", e, err, want)
	}
	if o, err := v.load(1); err != nil || o.Path[1].Type != typeMedia || decode16(o.Path[1].Data) != `\EFI\BOOT\BOOTAA64.EFI` {
		t.Errorf("Boot0001 = %+v, %v", o, err)
	}

	// Same GUID, but the partition has moved.
	moved := bytes.NewReader(newDisk(t, strings.ReplaceAll(strings.Replace(table, "start=2048", "start=4096", 1), espGUID, rootGUID[:35]+"0")))
	if e, err = BootNext(v, moved, diskSize, "arm64"); err != nil || e.Name != "Boot0001" {
		t.Errorf("moved partition: %+v, %v", e, err)
	}
	if o, err := v.load(1); err != nil {
		t.Error(err)
	} else if h, ok := o.Path[0].HardDisk(); !ok || h.Start != 4096 {
		t.Errorf("moved partition: the load option still names %+v", h)
	}
}

func TestBootNextTakesTheEntryOfTheSystem(t *testing.T) {
	disk := bytes.NewReader(newDisk(t, table))
	v := newVars(t, map[string]*LoadOption{
		"Boot0001": option1(goldenGUID, 0, "switched off"),
		"Boot0004": {Active, description, []Node{HardDisk{1, 2048, 32768, goldenGUID}.Node()}, nil},
		"Boot000A": option1(goldenGUID, Active, "debian"),
	})
	e, err := BootNext(v, disk, diskSize, "amd64")
	if want := (Entry{"Boot000A", "debian"}); err != nil || e != want {
		t.Errorf("got %+v, %v; want %+v", e, err, want)
	}
	if got := value(t, v, "BootNext"); got != "\x0a\x00" {
		t.Errorf("BootNext = %x", got)
	}
}

func TestBootNextSaysWhyNot(t *testing.T) {
	disk := newDisk(t, table)
	noESP := newDisk(t, strings.Replace(table, "type=uefi", "type=linux", 1))
	full := newVars(t, nil)
	put(t, full, "Boot0000"+global, nil)
	os.Mkdir(full.file("BootNext"), 0o755) // a firmware that does not take it
	tests := []struct {
		name string
		vars Vars
		disk []byte
		arch string
		want string
		is   error
	}{
		{"no folder", "/nonexistent", disk, "amd64", "not started by UEFI", ErrUnavailable},
		{"nothing mounted", Vars(t.TempDir()), disk, "amd64", "not started by UEFI", ErrUnavailable},
		{"blank disk", newVars(t, nil), make([]byte, 1<<20), "amd64", "no header", ErrNoGPT},
		{"no ESP", newVars(t, nil), noESP, "amd64", "none of the disk's 2 partitions", nil},
		{"architecture", newVars(t, nil), disk, "mips", "mips", nil},
		{"write refused", full, disk, "amd64", "write BootNext", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := BootNext(tt.vars, bytes.NewReader(tt.disk), int64(len(tt.disk)), tt.arch)
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if st, err := os.Stat(tt.vars.file("BootNext")); err == nil && st.Mode().IsRegular() {
				t.Error("BootNext was written all the same")
			}
		})
	}
}
