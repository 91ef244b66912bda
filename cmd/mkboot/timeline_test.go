package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/images"
)

const stored = 20 << 20

var manifest = images.Manifest{Stored: images.Sum{Size: stored}, Raw: images.Sum{Size: 256 << 20}}

// turnedOn is when the machine was turned on.
const turnedOn = 10 * time.Second

// goodDemo is what happens in a good demo, in order.
func goodDemo() []any {
	kernel, image := "firmware/qemu-x86_64/vmlinuz", demoImage
	return []any{
		boot.Event{Kind: boot.KindDHCP, Proto: "dhcp"},
		boot.Event{Kind: boot.KindServe, Proto: "tftp", File: kernel, Bytes: 10 << 20},
		boot.Event{Kind: boot.KindServe, Proto: "tftp", File: kernel, Bytes: 2 << 20},
		"bootlace agent v1 qemu-x86_64",
		boot.Event{Kind: boot.KindDHCP, Proto: "dhcp"},
		boot.Event{Kind: boot.KindServe, Proto: "tftp", File: "plan/52-54-00-b0-07-02/00", Bytes: 700},
		boot.Event{Kind: boot.KindServe, Proto: "ftp", File: image, Bytes: stored / 2},
		boot.Event{Kind: boot.KindServe, Proto: "ftp", File: image, Bytes: stored / 2},
		"verify [................]   0%   1.0 MiB",
		boot.Event{Kind: boot.KindVerify, Bytes: 256 << 20},
		boot.Event{Kind: boot.KindDone},
		boot.Event{Kind: boot.KindHandover, Text: "reboot"},
		boot.Event{Kind: boot.KindDHCP, Proto: "dhcp"},
		flashedLine + "/dev/vda (lab), kernel 6.1, root 1-2-3",
	}
}

func play(steps *timeline, all []any) {
	steps.event(0, boot.Event{Kind: boot.KindDone}) // before power-on, so it does not count
	steps.powerOn(turnedOn)
	for i, what := range all {
		at := turnedOn + time.Duration(i+1)*time.Second
		switch what := what.(type) {
		case boot.Event:
			steps.event(at, what)
		case string:
			steps.line(at, what)
		}
	}
}

func TestTimeline(t *testing.T) {
	steps := newTimeline(board.Boards[0], demoImage, &manifest)
	play(steps, goodDemo())
	if err := steps.missing(); err != nil {
		t.Errorf("missing: %v", err)
	}
	select {
	case <-steps.end:
	default:
		t.Error("it has not ended")
	}
	var out bytes.Buffer
	steps.table(&out)
	want := `step                 at s   seconds        bytes  protocol
power-on             10.0
DHCP                 11.0       1.0               dhcp
firmware             13.0       2.0     12.0 MiB  tftp
agent                14.0       1.0
plan                 16.0       2.0        700 B  tftp
pull                 18.0       2.0     20.0 MiB  ftp
write                19.0       1.0    256.0 MiB
read-back            20.0       1.0    256.0 MiB
done                 21.0       1.0
reboot               22.0       1.0
flashed system       24.0       2.0
`
	if out.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestTimelineMissing holds that each thing that did not happen is named.
func TestTimelineMissing(t *testing.T) {
	for i, want := range map[int]string{
		3: "no agent", 5: "no plan", 7: "FTP carried 10485760 bytes", 9: "no read-back", 10: "no done", 13: "no flashed system",
	} {
		t.Run(want, func(t *testing.T) {
			steps := newTimeline(board.Boards[0], demoImage, &manifest)
			play(steps, slices.Delete(goodDemo(), i, i+1))
			if err := steps.missing(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("without event %d: %v, want %q", i, err, want)
			}
		})
	}
	steps := newTimeline(board.Boards[0], demoImage, &manifest)
	play(steps, append(goodDemo()[:7], boot.Event{Kind: boot.KindFailed, Text: "disk is too small"}))
	if err := steps.missing(); err == nil || !strings.Contains(err.Error(), "disk is too small") {
		t.Errorf("a failed job: %v", err)
	}
	select {
	case <-steps.end:
	default:
		t.Error("a failed job does not end it")
	}
}

func TestReadable(t *testing.T) {
	for line, want := range map[string]string{
		`{"time":"2026-01-01T00:00:00Z","level":"INFO","msg":"dhcp answers","event":true,"seq":1,"kind":"dhcp"}`: "dhcp: dhcp answers",
		`{"time":"2026-01-01T00:00:00Z","level":"WARN","msg":"slow","bytes":12345678,"addr":"10.0.0.1"}`:         "slow addr=10.0.0.1 bytes=12345678 level=WARN",
		`{"broken`:          `{"broken`,
		"bootlace: serving": "bootlace: serving",
	} {
		t.Run(want, func(t *testing.T) {
			if got := readable(line); got != want {
				t.Errorf("readable(%s) = %q, want %q", line, got, want)
			}
		})
	}
}
