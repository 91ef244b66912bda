package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/boot/tftp"
	"github.com/bootlace/bootlace/images"
)

// patience is how long a transfer waits for a server that has gone. One that
// does not answer when the command starts is told at once.
const patience = time.Minute

// newPuller is that of the commands get, put and ls.
func newPuller(base string, show *progress, client tftp.Client) *pull.Puller {
	p := &pull.Puller{Sources: []string{base}, Timing: pull.Timing{GiveUp: patience}, TFTP: client}
	if show != nil {
		p.Progress, p.Notify = show.moved, show.changed
	}
	return p
}

// parseURL checks what a person typed.
func parseURL(command, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains(pull.Schemes(), u.Scheme) || u.Hostname() == "" {
		return nil, usageError{fmt.Errorf("%s: %q is not a URL like ftp://10.0.0.1/lab.raw.zst; there are %s", command, raw, strings.Join(pull.Schemes(), ", "))}
	}
	return u, nil
}

// tftpFlags are the options that a person may ask of a TFTP server. windowsize
// is for downloads alone.
func tftpFlags(set *flag.FlagSet, windows bool) *tftp.Client {
	c := new(tftp.Client)
	option := func(name, usage string, least, most int, to *int) {
		set.Func(name, usage, func(v string) (err error) {
			if *to, err = strconv.Atoi(v); err != nil || *to < least || *to > most {
				err = fmt.Errorf("want a number from %d to %d", least, most)
			}
			return err
		})
	}
	option("blksize", "`BYTES` of a block to ask a TFTP server for, 8 to 65464 (default 1428)", 8, 65464, &c.Blksize)
	if windows {
		option("windowsize", "`BLOCKS` between two acknowledgements to ask a TFTP server for, 1 to 32767 (default 64)", 1, 32767, &c.Windowsize)
	}
	return c
}

// checkTFTP refuses options of TFTP with another protocol.
func checkTFTP(command string, c *tftp.Client, u *url.URL) error {
	if (c.Blksize != 0 || c.Windowsize != 0) && u.Scheme != "tftp" {
		return usageError{fmt.Errorf("%s: --blksize and --windowsize are of tftp, not of %s", command, u.Scheme)}
	}
	return nil
}

// splitURL parts the URL of a file into its folder and its name. The folder ends
// in a slash.
func splitURL(u *url.URL) (base, name string, err error) {
	dir, name := path.Split(u.Path)
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "\x00\r\n") {
		return "", "", usageError{fmt.Errorf("%s names no file; `bootlace ls` lists a folder", u.Redacted())}
	}
	b := *u
	if b.Path, b.RawPath = dir, ""; dir == "" {
		b.Path = "/"
	}
	return b.String(), name, nil
}

func runGet(ctx context.Context, args []string) error {
	return get(ctx, args, os.Stdout, os.Stderr)
}

func get(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlags("get", "URL [-o FILE]")
	out := set.String("o", "", "`FILE` or folder to write to, - for standard output (default: the name in the URL)")
	client := tftpFlags(set, true)
	noVerify := set.Bool("no-verify", false, "do not ask for the file's manifest and check size and SHA-256 against it")
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usageError{errors.New("get: want one URL")}
	}
	u, err := parseURL("get", operands[0])
	if err != nil {
		return err
	}
	if err := checkTFTP("get", client, u); err != nil {
		return err
	}
	base, name, err := splitURL(u)
	if err != nil {
		return err
	}
	show := newProgress(stderr)
	defer show.clear()
	f, checked, err := known(ctx, base, name, *client, *noVerify)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	t := &getting{puller: newPuller(base, show, *client), file: f, show: show}
	if *out == "-" {
		err = t.puller.Fetch(ctx, f, stdout)
	} else {
		err = t.save(ctx, *out)
	}
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	show.line("%s: %s; %s", name, show.summary(), checked)
	return nil
}

// known asks for the manifest beside a file. It returns what the file must be,
// and what to tell a person about it.
func known(ctx context.Context, base, name string, client tftp.Client, noVerify bool) (f pull.File, checked string, err error) {
	f = pull.File{Name: name, Size: -1}
	switch {
	case noVerify:
		return f, "not verified", nil
	case strings.HasSuffix(name, images.ManifestSuffix):
		return f, "a manifest has none of its own: not verified", nil
	}
	m := pull.File{Name: name + images.ManifestSuffix, Size: -1}
	p := newPuller(base, nil, client)
	p.Timing.GiveUp = time.Nanosecond
	raw, err := p.FetchSmall(ctx, m, images.MaxManifest)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return f, "has no manifest: not verified", nil
	case err != nil:
		return f, "", err
	}
	manifest, err := images.ParseManifest(raw)
	if err != nil {
		return f, "", fmt.Errorf("%s: %w (--no-verify goes without)", m.Name, err)
	}
	f.Size, f.SHA256 = manifest.Stored.Size, manifest.Stored.SHA256
	return f, "size and SHA-256 agree with its manifest", nil
}

// A getting is one file on its way to a disk.
type getting struct {
	puller *pull.Puller
	file   pull.File
	show   *progress
}

// save writes the file to FILE.part, which becomes FILE once it is whole. A
// FILE.part that is there is gone on with.
func (g *getting) save(ctx context.Context, out string) error {
	if out == "" {
		out = g.file.Name
	}
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		out = filepath.Join(out, g.file.Name)
	} else if err == nil && !info.Mode().IsRegular() {
		return g.stream(ctx, out) // /dev/null has no .part
	}
	part, err := os.OpenFile(out+".part", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer part.Close()
	if err := unix.Flock(int(part.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s: in use by another process: %w", part.Name(), err)
	}
	if err := g.fill(ctx, part); err != nil {
		switch info, serr := part.Stat(); {
		case errors.Is(err, pull.ErrCorrupt), errors.Is(err, pull.ErrChanged), serr == nil && info.Size() == 0:
			os.Remove(part.Name()) // nothing to go on from
		case serr == nil:
			g.show.line("%s of it are kept in %s; the same command goes on from there", human.Bytes(info.Size()), part.Name())
		}
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(part.Name(), out)
}

// fill makes part whole. What it holds of another file, or of one that changed,
// is dropped once.
func (g *getting) fill(ctx context.Context, part *os.File) error {
	for try := 1; ; try++ {
		info, err := part.Stat()
		if err != nil {
			return err
		}
		held := pull.Held{Bytes: part, Time: info.ModTime()}
		if info.Size() == 0 {
			held = pull.Held{}
		} else if try == 1 {
			g.show.line("going on from byte %d of %s", info.Size(), part.Name())
		}
		err = g.puller.Resume(ctx, g.file, held, part)
		again := errors.Is(err, pull.ErrChanged) || errors.Is(err, pull.ErrCorrupt) && held.Bytes != nil
		if !again || try > 1 {
			return err
		}
		g.show.line("%v; starting over", err)
		g.show.failed = ""
		if err := part.Truncate(0); err != nil {
			return err
		}
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// stream writes to what is not a regular file.
func (g *getting) stream(ctx context.Context, out string) error {
	w, err := os.OpenFile(out, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := g.puller.Fetch(ctx, g.file, w); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

func runLs(ctx context.Context, args []string) error { return list(ctx, args, os.Stdout) }

func list(ctx context.Context, args []string, stdout io.Writer) error {
	operands, err := parse(newFlags("ls", "URL"), args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usageError{errors.New("ls: want one URL")}
	}
	u, err := parseURL("ls", operands[0])
	if err != nil {
		return err
	}
	entries, err := newPuller("", nil, tftp.Client{}).List(ctx, u.String())
	if err != nil {
		return fmt.Errorf("ls %s: %w", u.Redacted(), err)
	}
	w := bufio.NewWriter(stdout)
	for _, e := range entries {
		fmt.Fprintln(w, row(e))
	}
	return w.Flush()
}

// row is one line of a listing. It has size, time and name, as far as they are
// known.
func row(e pull.Entry) string {
	name := e.Name
	if e.Dir {
		name += "/"
	}
	name = human.Line(name) // it is a stranger's text, and may end up on a terminal
	size, at := "", ""
	if e.Size >= 0 {
		size = fmt.Sprint(e.Size)
	}
	if !e.Time.IsZero() {
		at = e.Time.UTC().Format("2006-01-02 15:04")
	}
	if size == "" && at == "" {
		return name
	}
	return fmt.Sprintf("%14s %16s  %s", size, at, name)
}
