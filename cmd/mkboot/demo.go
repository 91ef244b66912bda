package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/images"
)

// demoImage is the image's name under the appliance's root.
const demoImage = "lab.raw.zst"

const demoProfile = `images: {lab: {file: ` + demoImage + `}}
profiles:
  - name: demo
    match: {mac: ["` + machineMAC + `"]}
    action: flash
    image: lab
    on_failure: wait
    then: reboot
`

// demoTime bounds the demo. On two cores it takes below two minutes, on busy
// ones twice that, so ten say that something hangs.
const demoTime = 10 * time.Minute

// demo flashes a blank machine over the network from an appliance, both in
// QEMU, and shows it.
func demo(ctx context.Context, args []string) error {
	var image, root, work string
	var uefi bool
	var memory int
	var limit time.Duration
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.BoolVar(&uefi, "uefi", false, "start the machine by UEFI, not by BIOS")
	fs.StringVar(&image, "image", "", "disk image `FILE`, as scripts/diskimage makes it")
	fs.StringVar(&root, "root", "", "`DIR` with firmware that mkboot build made")
	fs.StringVar(&work, "work", "", "`DIR` for disks and logs, kept; a short path")
	fs.IntVar(&memory, "memory", 0, "the machine's memory in `MiB`")
	fs.DurationVar(&limit, "timeout", demoTime, "give up after this `time`")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 0 || image == "" || root == "" {
		return fmt.Errorf("%w: --image FILE and --root DIR, and no more than flags", errUsage)
	}
	dir, done, err := workDir(work)
	if err != nil {
		return err
	}
	defer done()
	firmware := lab.BIOS
	if uefi {
		firmware = lab.UEFI
	}
	b, err := newBench(board.Boards[0].Name, root, dir, firmware)
	if err != nil {
		return err
	}
	if err := b.buildServer(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("time is up after %v", limit))
	defer cancel()
	return b.demo(ctx, image, memory)
}

func (b *bench) demo(ctx context.Context, image string, memory int) error {
	fmt.Printf("making the manifest of %s\n", filepath.Base(image))
	manifest, m, err := images.Add(ctx, image)
	if err != nil {
		return err
	}
	store := lab.Store{
		Config: benchConfig + demoProfile,
		Files:  map[string]string{demoImage: image, demoImage + images.ManifestSuffix: manifest},
	}
	for _, name := range []string{board.Kernel, board.Initramfs, board.UKI} {
		store.Files[b.board.File(name)] = filepath.Join(b.root, b.board.File(name))
	}
	disk := filepath.Join(b.dir, "disk.raw")
	if err := lab.BlankDisk(disk, 2*m.Raw.Size); err != nil {
		return err
	}
	os.Remove(filepath.Join(b.dir, "vars.fd")) // of an earlier demo
	s := newStory(b.board, demoImage, m)
	err = b.play(ctx, s, store, disk, memory)
	fmt.Println()
	s.table(os.Stdout)
	if missing := s.missing(); missing != nil {
		return errors.Join(err, missing)
	}
	if err == nil {
		fmt.Println("the flashed system is up, and FTP carried the image")
	}
	return err
}

// play runs both machines until the story has ended.
func (b *bench) play(ctx context.Context, s *story, store lab.Store, disk string, memory int) error {
	ctx, cancel := context.WithCancel(ctx)
	show, err := newShow(os.Stdout, b.dir)
	if err != nil {
		cancel()
		return err
	}
	defer show.close()
	var powered time.Time
	began := make(chan struct{}) // closed when powered is known
	appliance, err := b.appliance(ctx, store, func(l lab.Line) {
		show.line("appliance", l)
		select {
		case <-began:
			if ev, ok := journal.ParseLine([]byte(l.Text)); ok {
				s.heard(time.Since(powered), ev)
			}
		default:
		}
	})
	if err != nil {
		cancel()
		return err
	}
	defer func() { cancel(); <-appliance.Ended() }()
	m := b.machine(ctx, disk)
	m.Memory = memory
	m.Console = func(l lab.Line) {
		show.line("machine", l)
		s.said(l.At, l.Text)
	}
	powered = time.Now()
	close(began)
	machine, err := lab.Start(ctx, m)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-machine.Ended() }()
	select {
	case <-s.end:
		return nil
	case <-machine.Ended():
		return fmt.Errorf("the machine ended: %v", machine.Err())
	case <-appliance.Ended():
		return fmt.Errorf("the appliance ended: %v", appliance.Err())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A show prints the lines of both consoles as they come and keeps them, as
// they are, in a file each.
type show struct {
	mu    sync.Mutex
	out   io.Writer
	logs  map[string]*os.File
	shown map[string]time.Time // progress of whom, when
}

func newShow(out io.Writer, dir string) (*show, error) {
	s := &show{out: out, logs: map[string]*os.File{}, shown: map[string]time.Time{}}
	for _, who := range []string{"appliance", "machine"} {
		f, err := os.Create(filepath.Join(dir, who+".log"))
		if err != nil {
			s.close()
			return nil, err
		}
		s.logs[who] = f
	}
	return s, nil
}

func (s *show) close() {
	for _, f := range s.logs {
		f.Close()
	}
}

var (
	kernelLine = regexp.MustCompile(`^\[ *\d+\.\d+\]`)
	barLine    = regexp.MustCompile(`\[#*\.*\] +(\d+)%`)
)

// barEvery thins out progress: a bar that a console draws over itself, and the
// device's reports of it.
const barEvery = 2 * time.Second

func (s *show) line(who string, l lab.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.logs[who], "%8.3f %s\n", l.At.Seconds(), l.Text)
	if kernelLine.MatchString(l.Text) {
		return
	}
	if progress(l.Text) {
		if time.Since(s.shown[who]) < barEvery {
			return
		}
		s.shown[who] = time.Now()
	}
	fmt.Fprintf(s.out, "%-11s %6.1f  %s\n", "["+who+"]", l.At.Seconds(), readable(l.Text))
}

func progress(line string) bool {
	if bar := barLine.FindStringSubmatch(line); bar != nil {
		return bar[1] != "100"
	}
	ev, ok := journal.ParseLine([]byte(line))
	return ok && ev.Kind == boot.KindWrite
}

// readable turns a line of a JSON log into one for a person; others stay.
func readable(line string) string {
	if ev, ok := journal.ParseLine([]byte(line)); ok {
		return fmt.Sprintf("%s: %s", ev.Kind, ev.Text)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(line)))
	d.UseNumber()
	var l map[string]any
	if !strings.HasPrefix(line, "{") || d.Decode(&l) != nil {
		return line
	}
	text := fmt.Sprint(l["msg"])
	for _, key := range slices.Sorted(maps.Keys(l)) {
		if key != "msg" && key != "time" && (key != "level" || l[key] != "INFO") {
			text += fmt.Sprintf(" %s=%v", key, l[key])
		}
	}
	return text
}
