package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var nobody = Client{Addr: netip.MustParseAddr("192.0.2.1"), Via: "tftp"}

// testTree makes a served folder and a secret beside it. It has a file for
// every kind of wrong name.
func testTree(t testing.TB, made Made) (*Tree, string) {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, ".state"), 0o755))
	for name, data := range map[string]string{
		"../secret": "secret", "file": "a file", "sub/deep/inner": "inner", ".hidden": "hidden", ".state/db": "hidden",
	} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	for name, target := range map[string]string{
		"inside": "sub/deep/inner", "sub/up": "../file", "out": "../secret", "abs": filepath.Join(base, "secret"),
		"outdir": "..", "loop": "loop", "dangling": "nothing",
	} {
		must(os.Symlink(target, filepath.Join(dir, name)))
	}
	must(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	tree, err := OpenTree(dir, made, nil)
	must(err)
	t.Cleanup(func() { tree.Close() })
	return tree, base
}

func TestTreeOpen(t *testing.T) {
	tree, base := testTree(t, Made{})
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"file", "a file", nil},
		{`\sub\deep\inner`, "inner", nil},
		{"inside", "inner", nil},
		{"sub/up", "a file", nil},
		{"missing", "", fs.ErrNotExist},
		{"file/below", "", fs.ErrNotExist},
		{"out", "", fs.ErrNotExist},
		{"abs", "", fs.ErrNotExist},
		{"outdir/secret", "", fs.ErrNotExist},
		{"loop", "", fs.ErrNotExist},
		{"dangling", "", fs.ErrNotExist},
		{".hidden", "", fs.ErrNotExist},
		{".state/db", "", fs.ErrNotExist},
		{"../secret", "", fs.ErrInvalid},
		{"sub", "", fs.ErrPermission},
		{"", "", fs.ErrPermission},
		{"fifo", "", fs.ErrPermission},
	} {
		t.Run(fmt.Sprintf("%q", tt.name), func(t *testing.T) {
			f, err := tree.Open(t.Context(), nobody, tt.name)
			if !errors.Is(err, tt.err) {
				t.Errorf("Open(%q): %v, want %v", tt.name, err, tt.err)
			}
			if err != nil {
				var pe *fs.PathError
				if !errors.As(err, &pe) || strings.Contains(err.Error(), base) || err.Error() != fmt.Sprintf("open %s: %v", pe.Path, tt.err) {
					t.Errorf("Open(%q): error %q says more than %v", tt.name, err, tt.err)
				}
				return
			}
			got, err := io.ReadAll(f)
			if string(got) != tt.want || err != nil || f.Size() != int64(len(tt.want)) || f.OS() == nil || f.ModTime().IsZero() {
				t.Errorf("Open(%q): %q, %v", tt.name, got, err)
			}
			f.Close()
		})
	}
	if _, err := tree.Open(t.Context(), nobody, "loop"); !errors.Is(Cause(err), syscall.ELOOP) {
		t.Errorf("cause of a loop: %v", Cause(err))
	}
}

func TestTreeClosed(t *testing.T) {
	tree, base := testTree(t, Made{})
	tree.Close()
	_, err := tree.Open(t.Context(), nobody, "file")
	if err == nil || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), base) {
		t.Errorf("open in a closed tree: %v", err)
	}
}

func TestTreeMakers(t *testing.T) {
	var asked []string
	first := func(_ context.Context, c Client, name string) ([]byte, error) {
		asked = append(asked, name)
		switch name {
		case "plan/x", "sub/deep/inner":
			return []byte("made for " + c.Addr.String()), nil
		case "plan/broken":
			return nil, errors.New("open /var/lib/bootlace/state: disk on fire")
		case "plan/forbidden":
			return nil, fmt.Errorf("no: %w", fs.ErrPermission)
		}
		return nil, fmt.Errorf("not a plan: %w", fs.ErrNotExist)
	}
	last := func(_ context.Context, c Client, name string) ([]byte, error) {
		switch name {
		case "file", "boot.ipxe":
			return []byte("made last"), nil
		}
		return nil, fs.ErrNotExist
	}
	tree, _ := testTree(t, Made{Before: first, After: last})
	for _, tt := range []struct{ name, want, err string }{
		{`\plan\x`, "made for 192.0.2.1", ""},
		{"sub/deep/inner", "made for 192.0.2.1", ""},
		{"file", "a file", ""},
		{"boot.ipxe", "made last", ""},
		{"plan/broken", "", "open plan/broken: file cannot be read now"},
		{"plan/forbidden", "", "open plan/forbidden: permission denied"},
		{"other", "", "open other: file does not exist"},
		{"plan/../x", "", "open plan/../x: invalid argument"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := tree.Open(t.Context(), nobody, tt.name)
			if err != nil {
				if err.Error() != tt.err {
					t.Errorf("Open(%q): %q, want %q", tt.name, err, tt.err)
				}
				return
			}
			got, err := io.ReadAll(f)
			if string(got) != tt.want || err != nil || tt.err != "" {
				t.Errorf("Open(%q): %q, %v", tt.name, got, err)
			}
			if made := strings.HasPrefix(tt.want, "made"); made != (f.OS() == nil) || made != f.ModTime().IsZero() {
				t.Errorf("Open(%q): made %v, OS %v", tt.name, made, f.OS())
			}
			f.Close()
		})
	}
	for _, name := range asked {
		if c, err := Clean(name); err != nil || c != name {
			t.Errorf("a maker was asked for %q", name)
		}
	}
}

func TestTreeReadDirStat(t *testing.T) {
	tree, base := testTree(t, Made{After: func(_ context.Context, _ Client, name string) ([]byte, error) {
		if name == "boot.ipxe" {
			return []byte("#!ipxe"), nil
		}
		return nil, fs.ErrNotExist
	}})
	list, err := tree.ReadDir(t.Context(), nobody, "/")
	var names []string
	for _, e := range list {
		names = append(names, fmt.Sprintf("%s:%v", e.Name(), e.IsDir()))
	}
	if got, want := strings.Join(names, " "), "file:false inside:false sub:true"; got != want || err != nil {
		t.Errorf("listing %q, %v; want %q", got, err, want)
	}
	for name, want := range map[string]error{"file": fs.ErrNotExist, "out": fs.ErrNotExist, "outdir": fs.ErrNotExist, ".state": fs.ErrNotExist, "..": fs.ErrInvalid} {
		t.Run("ReadDir "+name, func(t *testing.T) {
			if _, err := tree.ReadDir(t.Context(), nobody, name); !errors.Is(err, want) || strings.Contains(err.Error(), base) {
				t.Errorf("ReadDir(%q): %v, want %v", name, err, want)
			}
		})
	}
	for name, want := range map[string]string{"sub": "sub true", "/": ". true", "inside": "inside false", "boot.ipxe": "boot.ipxe false", "out": "", "fifo": ""} {
		t.Run("Stat "+name, func(t *testing.T) {
			info, err := tree.Stat(t.Context(), nobody, name)
			if got := ""; err == nil {
				if got = fmt.Sprint(info.Name(), " ", info.IsDir()); got != want {
					t.Errorf("Stat(%q) = %q, want %q", name, got, want)
				}
			} else if want != "" {
				t.Errorf("Stat(%q): %v", name, err)
			}
		})
	}
}

func TestFileReads(t *testing.T) {
	tree, base := testTree(t, Made{})
	f, err := tree.Open(t.Context(), nobody, "file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if pos, err := f.Seek(-4, io.SeekEnd); pos != 2 || err != nil {
		t.Fatal(pos, err)
	}
	if got, err := io.ReadAll(f); string(got) != "file" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	// A file that is truncated while it is served does not look shorter.
	if err := os.Truncate(filepath.Join(base, "root/file"), 2); err != nil {
		t.Fatal(err)
	}
	if n, err := f.ReadAt(make([]byte, 6), 0); n != 2 || err != io.ErrUnexpectedEOF {
		t.Errorf("%d, %v; want 2 bytes and unexpected EOF", n, err)
	}
}

func FuzzOpen(f *testing.F) {
	tree, base := testTree(f, Made{})
	for _, s := range []string{"file", "/../secret", `..\secret`, "out", "outdir/secret", "abs", "sub/../file", ".hidden", "a\x00", "./.state/db", "fifo", "sub/up/../../../secret"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean, err := Clean(name)
		if err == nil {
			if again, err := Clean(clean); err != nil || again != clean || !fs.ValidPath(clean) {
				t.Errorf("Clean(%q) = %q, which cleans to %q, %v", name, clean, again, err)
			}
		}
		file, err := tree.Open(t.Context(), nobody, name)
		if err != nil {
			if text := err.Error(); strings.Contains(text, base) && !strings.Contains(name, base) {
				t.Errorf("Open(%q): error %q", name, text)
			}
			return
		}
		defer file.Close()
		got, err := io.ReadAll(file)
		if err != nil || string(got) != "a file" && string(got) != "inner" {
			t.Errorf("Open(%q) gave %q, %v", name, got, err)
		}
	})
}

// A read error has the host's path, as an error of Open has.
func TestFileReadErrorIsConfined(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(dir, Made{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	f, err := tree.Open(t.Context(), nobody, "x")
	if err != nil {
		t.Fatal(err)
	}
	f.OS().Close()
	_, err = f.ReadAt(make([]byte, 1), 0)
	if err == nil || strings.Contains(err.Error(), dir) || !strings.Contains(Cause(err).Error(), dir) {
		t.Errorf("error %q, cause %q; want the path %s in the cause alone", err, Cause(err), dir)
	}
}

func TestElsewhere(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("here", "its own")
	write("there/b", "another's")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "there", "out")); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(dir, Made{
		Elsewhere: func(_ context.Context, _ Client, name string) []string {
			return []string{"nowhere/" + name, "there", "../" + name, "there/" + name}
		},
		After: func(_ context.Context, _ Client, name string) ([]byte, error) {
			if name == "gone" || name == "b" {
				return []byte("made"), nil
			}
			return nil, fs.ErrNotExist
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for name, want := range map[string]bool{"here": true, "/there//b": true, "b": false, "gone": false, "there": false, "there/out": false, "../here": false} {
		t.Run("Holds "+name, func(t *testing.T) {
			if got := tree.Holds(name); got != want {
				t.Errorf("Holds(%s) = %v", name, got)
			}
		})
	}
	for name, want := range map[string]string{"here": "its own", "b": "another's", "gone": "made", "out": "", "none": ""} {
		t.Run("Open "+name, func(t *testing.T) {
			f, err := tree.Open(t.Context(), nobody, name)
			if want == "" {
				if err == nil {
					t.Errorf("%s: opened", name)
				}
				return
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			got, _ := io.ReadAll(f)
			f.Close()
			if string(got) != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		})
	}
}
