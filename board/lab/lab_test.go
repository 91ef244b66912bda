package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
)

// need skips the test without QEMU. In CI that is a failure.
func need(t *testing.T, f Firmware) *board.Board {
	t.Helper()
	b := board.Boards[0]
	if err := Missing(b, f); err != nil {
		skip(t, err)
	}
	return b
}

func skip(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI must not skip: %v", why)
	}
	t.Skip(why)
}

func start(t *testing.T, m Machine) *VM {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	vm, err := Start(ctx, m)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-vm.Ended() })
	return vm
}

// speaker makes a BIOS disk whose boot sector writes text to the serial port.
func speaker(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk,1")
	if err := BlankDisk(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	sector := make([]byte, 512)
	copy(sector, []byte{
		0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
		0xbe, 0x15, 0x7c, //       mov si, text
		0xba, 0xf8, 0x03, //       mov dx, 0x3f8
		0xac, 0x84, 0xc0, //       next: lodsb; test al, al
		0x74, 0x03, //             jz stop
		0xee, 0xeb, 0xf8, //       out dx, al; jmp next
		0xf4, 0xeb, 0xfd, //       stop: hlt; jmp stop
	})
	copy(sector[0x15:], text)
	sector[510], sector[511] = 0x55, 0xaa
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(sector); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDiskResetAndEnd(t *testing.T) {
	b := need(t, BIOS)
	hello := "\r\n\x1b[2J\x1b[1;31mhello\x1b[0m from the disk\r\n"
	var heard []string
	vm := start(t, Machine{
		Board: b, Memory: 64,
		Disks:   []Disk{{Path: speaker(t, hello), Serial: "D1", BootIndex: 1}},
		Console: func(l Line) { heard = append(heard, l.Text) },
	})
	re := regexp.MustCompile("^hello from the disk$")
	first, err := vm.WaitFor(t.Context(), re)
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := vm.WaitFor(t.Context(), re)
	if err != nil {
		t.Fatal(err)
	}
	if second.At <= first.At {
		t.Errorf("second line at %v, first at %v", second.At, first.At)
	}
	if _, err := vm.QMP(t.Context(), "no-such-command", nil); err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("a wrong command's error: %v", err)
	}
	if rss := vm.PeakRSS(); rss < 1<<20 {
		t.Errorf("peak RSS of a running machine is %d", rss)
	}
	vm.Kill()
	if err := vm.Err(); err != nil {
		t.Errorf("a killed machine's error: %v", err)
	}
	if rss := vm.PeakRSS(); rss < 1<<20 {
		t.Errorf("peak RSS of an ended machine is %d", rss)
	}
	if _, err := os.Stat(vm.dir); !os.IsNotExist(err) {
		t.Errorf("its folder is left: %v", err)
	}
	if n := strings.Count(strings.Join(heard, "\n"), "hello from the disk"); n != 2 {
		t.Errorf("Console heard it %d times in %q", n, heard)
	}
	if _, err := vm.WaitFor(t.Context(), re); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("waiting for a machine that is off: %v", err)
	}
}

func TestWrongArguments(t *testing.T) {
	vm := start(t, Machine{Board: need(t, BIOS), Args: []string{"-no-such-option"}})
	if err := vm.Err(); err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("error does not say what QEMU said: %v", err)
	}
}

// Every firmware asks the network before the disk, with its own client number. A
// Switch sees it and can stop it, and a cable can be pulled.
func TestNetworkFirst(t *testing.T) {
	for _, tt := range []struct {
		firmware Firmware
		client   board.Client
	}{{BIOS, board.ClientBIOS}, {UEFI, board.ClientUEFIx64}, {HTTP, board.ClientHTTPx64}} {
		t.Run(string(tt.firmware), func(t *testing.T) {
			b := need(t, tt.firmware)
			dir, err := os.MkdirTemp("", "lab")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			sw, ends, err := NewSwitch(dir, 2)
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan []byte, 100)
			sw.Pass = func(from int, frame []byte) bool {
				if from == 0 && isDiscover(frame) {
					select {
					case seen <- bytes.Clone(frame):
					default:
					}
				}
				return true
			}
			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- sw.Run(ctx) }()
			vm := start(t, Machine{
				Board: b, Firmware: tt.firmware, Memory: 256,
				NICs:  []NIC{{End: ends[0], MAC: "52:54:00:00:00:01", BootIndex: 1}},
				Disks: []Disk{{Path: speaker(t, "disk\n"), BootIndex: 2}},
			})
			frame := next(t, seen)
			want := append([]byte{93, 2}, binary.BigEndian.AppendUint16(nil, uint16(tt.client))...)
			if !bytes.Contains(frame, want) {
				t.Errorf("DISCOVER does not say client %d: %x", tt.client, frame)
			}
			if tt.firmware == BIOS {
				// QEMU's iPXE does not see the carrier. It asks, nobody hears it,
				// and it asks again.
				pull(t, vm, false)
				if err := vm.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 2 { // before and after the reset
					if _, err := vm.WaitFor(t.Context(), regexp.MustCompile("Link:up")); err != nil {
						t.Fatal(err)
					}
				}
				// What was on the way when the cable was pulled has come by now.
				for len(seen) > 0 {
					<-seen
				}
				time.Sleep(500 * time.Millisecond)
				if len(seen) > 0 {
					t.Error("a frame came over a cable that was pulled")
				}
				pull(t, vm, true)
				next(t, seen)
			}
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		})
	}
}

func pull(t *testing.T, vm *VM, up bool) {
	t.Helper()
	if err := vm.SetLink(t.Context(), 0, up); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, frames <-chan []byte) []byte {
	t.Helper()
	select {
	case f := <-frames:
		return f
	case <-time.After(4 * time.Minute):
		t.Fatal("no DISCOVER within four minutes")
		return nil
	}
}

// isDiscover reports whether an Ethernet frame holds an IPv4 UDP packet to port 67.
func isDiscover(f []byte) bool {
	return len(f) > 42 && f[12] == 8 && f[13] == 0 && f[23] == 17 && binary.BigEndian.Uint16(f[36:]) == 67
}

func TestSerialLines(t *testing.T) {
	var got []string
	s := newSerial(func(l Line) { got = append(got, l.Text) }, nil)
	for _, c := range []string{"one\r\n\r\n", "tw", "o\n\x1b", "[1", ";3mthree\x1b[0m \x07\r", "\x1b[01;01Hfour\x1b[02;01Hfive", "\x1bcsix"} {
		s.Write([]byte(c))
	}
	s.endLine()
	if want := "one two three four fivesix"; strings.Join(got, " ") != want {
		t.Errorf("lines %q, want %q", got, want)
	}
	s.Write(bytes.Repeat([]byte("x"), 3*maxLine))
	for range maxLines + 1 {
		s.Write([]byte("y\n"))
	}
	if n := len(s.all()); n > maxLines {
		t.Errorf("%d lines kept, bound is %d", n, maxLines)
	}
}
