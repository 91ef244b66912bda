package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/human"
)

// terminal opens a pseudoterminal. What is written to tty is read from screen.
func terminal(t *testing.T) (tty, screen *os.File) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudoterminals: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty, screen
}

func TestProgressOnATerminal(t *testing.T) {
	tty, screen := terminal(t)
	p := newProgress(tty)
	p.shown = time.Now().Add(time.Hour)
	p.moved("ftp", 1000, 4000) // too soon to be shown
	p.shown = time.Now().Add(-barEvery)
	p.moved("ftp", 2000, 4000)
	p.line("done")
	s := ""
	for got := make([]byte, 4096); !strings.HasSuffix(s, "done\r\n"); {
		n, err := screen.Read(got)
		if err != nil {
			t.Fatal(err)
		}
		s += string(got[:n])
	}
	if !strings.HasPrefix(s, "\rftp    [########........]  50%") || !strings.HasSuffix(s, "\r"+strings.Repeat(" ", human.BarWidth)+"\rdone\r\n") || strings.Contains(s, "25%") {
		t.Errorf("screen shows %q", s)
	}
}

func TestProgressInAFile(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	p.moved("ftp", 1000, 4000)
	p.shown = p.shown.Add(-lineEvery)
	p.moved("ftp", 2000, 4000)
	p.changed(pull.Attempt{Proto: "ftp", From: 0, To: 3000, Err: errors.New("reset")})
	p.changed(pull.Attempt{Proto: "http", From: 3000, To: 4000, Err: errors.New("the end")})
	if strings.ContainsAny(b.String(), "\r\x1b") || strings.Contains(b.String(), "the end") {
		t.Errorf("says %q", &b)
	}
	for _, want := range []string{"ftp    [########........]  50%", "ftp failed at byte 3000: reset; trying again\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in %q", want, &b)
		}
	}
	p.start = time.Now().Add(-200 * time.Minute)
	if s := p.summary(); !strings.HasPrefix(s, "3.9 KiB by ftp, then http in 3h2") || !strings.Contains(s, "B/s") {
		t.Errorf("summary %q", s)
	}
}
