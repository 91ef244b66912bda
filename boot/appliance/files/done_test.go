package files

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

// Done counts and notes an outcome, in the same words for every protocol.
func TestDone(t *testing.T) {
	var noted []string
	tree, err := OpenTree(t.TempDir(), Made{}, func(c Client, ev boot.Event) {
		noted = append(noted, fmt.Sprintf("%s %s %s %s %d/%d %q", c.Addr, ev.Kind, ev.Proto, ev.File, ev.Bytes, ev.Total, ev.Text))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	http := nobody
	http.Via = "http"
	tree.Done(nobody, Outcome{File: "f", Bytes: 9, Total: 9, Text: Sent("f", "", 9, 1234567)})
	tree.Done(http, Outcome{File: "f", Bytes: 3, Total: 9, Text: Sent("f", "bytes 0-2/9", 3, 0)})
	tree.Done(http, Refused("g", Explain(fs.ErrNotExist).Error()))
	want := []string{
		`192.0.2.1 serve tftp f 9/9 "tftp: sent f, 9 bytes in 1ms"`,
		`192.0.2.1 serve http f 3/9 "http: sent f, bytes 0-2/9 in 0s"`,
		`192.0.2.1 serve http g 0/0 "http: g: no such file"`,
	}
	if got := strings.Join(noted, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("noted\n%s", got)
	}
	if n := tree.Count("http"); n.Served.Load() != 1 || n.Failed.Load() != 1 || n.Bytes.Load() != 3 {
		t.Errorf("HTTP: served %d, failed %d, %d bytes", n.Served.Load(), n.Failed.Load(), n.Bytes.Load())
	}
	if n := tree.Count("ftp"); n.Served.Load() != 0 {
		t.Errorf("FTP served %d", n.Served.Load())
	}
}

// Every error of a tree has a refusal. Its text has nothing of the host.
func TestExplain(t *testing.T) {
	tree, _ := testTree(t, Made{})
	for name, want := range map[string]*Refusal{
		"missing": NoFile, ".hidden": NoFile, "out": NoFile, "../secret": NoName, "a\x00b": NoName, "sub": NotServed, "fifo": NotServed,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tree.Open(t.Context(), nobody, name); Explain(err) != want {
				t.Errorf("%v is explained as %v, want %v", err, Explain(err), want)
			}
		})
	}
	tree.Close()
	if _, err := tree.Open(t.Context(), nobody, "file"); Explain(err) != Unreadable {
		t.Errorf("closed: %v", Explain(err))
	}
}
