package appliance

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
)

// A hostile name leads to no file outside what is served. A Raspberry Pi's
// folder before it changes nothing.
func TestHostileNames(t *testing.T) {
	a := newAppliance(t)
	const secret = "not for strangers"
	for _, dir := range []string{"plan", ".hidden", "firmware/rpi4"} {
		if err := os.MkdirAll(filepath.Join(a.cfg.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"plan/x", ".hidden/x", ".x", "../" + filepath.Base(a.cfg.State) + "/x"} {
		write(t, filepath.Join(a.cfg.Root, name), []byte(secret))
	}
	write(t, filepath.Join(a.cfg.State, "secret"), []byte(secret))
	state := strings.TrimPrefix(a.cfg.State, "/")
	write(t, filepath.Join(a.cfg.Root, "firmware/rpi4", board.Kernel), []byte("kernel"))

	var names []string
	for _, rest := range []string{
		"plan/x", "plan//x", `plan\x`, "./plan/x", ".x", ".hidden/x", "..", "../" + state + "/secret", "../../../../../../../" + state + "/secret",
		"%2e%2e/" + state + "/secret", "..\x00/x", "\xff\xfe", "", "/", strings.Repeat("a/", 2000) + "x", strings.Repeat("x", 5000),
	} {
		for _, before := range []string{
			"", "deadbeef/", "52-54-00-12-34-56/", "../", "/", "//", "firmware/rpi4/", board.Script + "/", board.BootScript + "/", board.Pxelinux + "/",
			board.Pxelinux + "/01-", board.Pxelinux + "/default-", "plan/", "plan/52-54-00-12-34-56/",
		} {
			names = append(names, before+rest)
		}
	}
	for _, name := range names {
		t.Run(fmt.Sprintf("%.60q", name), func(t *testing.T) {
			f, err := a.tree.Open(t.Context(), stranger, name)
			if err != nil {
				if text := err.Error(); strings.Contains(text, a.cfg.Root) {
					t.Errorf("%.60q: the error has a path of the host: %.200s", name, text)
				}
				return
			}
			raw, err := io.ReadAll(f)
			f.Close()
			if err != nil || strings.Contains(string(raw), secret) {
				t.Errorf("%.60q gives %q, %v", name, raw, err)
			}
		})
	}
	// A Pi gets its files with and without its folder.
	for _, name := range []string{"deadbeef/" + board.Kernel, "52-54-00-12-34-56/" + board.Kernel, "DEADBEEF//" + board.Kernel} {
		t.Run(name, func(t *testing.T) {
			f, err := a.tree.Open(t.Context(), stranger, name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			f.Close()
		})
	}
}
