package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images/firmware"
)

// A making is what `build` and `kernel` have in common: a set of flags, and the
// options that they fill.
type making struct {
	opt   firmware.Options
	flags *flag.FlagSet
}

// newMaking returns the flags that both commands have.
func newMaking(name string) (*making, error) {
	cache, err := firmware.CacheDir()
	if err != nil {
		return nil, err
	}
	log := slog.New(newStepHandler(os.Stderr))
	packages := &firmware.Packages{Log: log}
	m := &making{opt: firmware.Options{Packages: packages, Log: log}, flags: newFlags(name)}
	m.flags.StringVar(&m.opt.Dir, "o", "", "root `DIR` to serve; firmware goes to DIR/firmware/BOARD/")
	m.flags.BoolVar(&m.opt.Rescue, "rescue", false, "add u-root's shell and tools, which the kernel's word rdinit=/"+firmware.RescueInit+" starts instead of the agent")
	m.flags.BoolVar(&m.opt.Serve, "serve", false, "include the serving half: for action serve and for a disk labelled BOOTLACE")
	m.flags.StringVar(&m.opt.Source, "source", ".", "`DIR` with Bootlace's source")
	m.flags.StringVar(&packages.Dir, "cache", cache, "`DIR` where Debian's packages and compiled kernels are kept")
	m.flags.BoolVar(&packages.Update, "update", false, "take the newest packages, not those in the cache")
	return m, nil
}

// parse reads the arguments and returns those that are no flags.
func (m *making) parse(args []string) ([]string, error) { return parse(m.flags, args) }

// made says what was made, and what to do with it.
func (m *making) made(r firmware.Result, bd *board.Board) {
	parts := []string{
		"kernel " + r.Release + " " + human.Bytes(int64(r.Kernel)),
		"agent " + human.Bytes(int64(r.Agent)),
	}
	if r.Modules > 0 {
		parts = append(parts, "modules "+human.Bytes(int64(r.Modules)))
	}
	if r.Initramfs > 0 {
		parts = append(parts, "initramfs "+human.Bytes(int64(r.Initramfs))+" compressed")
	}
	parts = append(parts, board.UKI+" "+human.Bytes(int64(r.UKI)))
	m.opt.Log.Info(r.Dir+" is made: "+strings.Join(parts, ", "), "board", bd.Name)
}

// next says which command serves what was made.
func (m *making) next() {
	dir, err := filepath.Abs(m.opt.Dir)
	if err != nil {
		dir = m.opt.Dir
	}
	fmt.Fprintf(os.Stderr, "next, on the machine that serves: sudo bootlace serve --root %s\n", dir)
}

// A stepHandler prints log records for a person: the board, the message, and
// further attributes in brackets.
type stepHandler struct {
	out   *os.File
	attrs []slog.Attr
}

func newStepHandler(out *os.File) *stepHandler { return &stepHandler{out: out} }

func (h *stepHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *stepHandler) Handle(_ context.Context, r slog.Record) error {
	all := h.attrs[:len(h.attrs):len(h.attrs)]
	r.Attrs(func(a slog.Attr) bool { all = append(all, a); return true })
	_, err := fmt.Fprintln(h.out, stepLine(r.Level, r.Message, all))
	return err
}

// stepLine is a record as one line: "board: message (key value, key value)".
func stepLine(level slog.Level, message string, attrs []slog.Attr) string {
	var who string
	var rest []string
	for _, a := range attrs {
		if a.Key == "board" {
			who = a.Value.String() + ": "
			continue
		}
		rest = append(rest, a.Key+" "+a.Value.String())
	}
	if level >= slog.LevelWarn {
		who += "warning: "
	}
	if len(rest) > 0 {
		message += " (" + strings.Join(rest, ", ") + ")"
	}
	return who + message
}

func (h *stepHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &stepHandler{h.out, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup is not needed: nobody here logs groups.
func (h *stepHandler) WithGroup(string) slog.Handler { return h }
