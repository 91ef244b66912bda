package ftp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names that would leave the tree, or tell something of the host.
func TestHostileNames(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("")
	for _, name := range []string{
		"../secret", "../../../../etc/passwd", "/etc/passwd", "/../secret", "sub/../../secret", `..\secret`, `sub\..\..\secret`,
		"escape", "up", "up/secret", "up/root/small", ".key", ".hidden/x", ".hidden", "sub/../.key", `\.key`, "/proc/self/environ",
		"small\x00", "small\rQUIT", "\x1b[2J", "\xff\xfe", "small/", "small/x", "sub", "/", ".", "..", "", "~", "~root/x",
		"*", "|id", "`id`", "$(id)", "-la", "%2e%2e/secret", strings.Repeat("a", 300), strings.Repeat("a/", 900), f.root + "/small",
	} {
		f.run(fmt.Sprintf("%.60q", name), c, func(t *testing.T) {
			for _, verb := range []string{"RETR", "SIZE", "MDTM", "MLST", "STAT"} {
				if name == "small/" || verb != "RETR" && verb != "SIZE" && (name == "/" || name == "." || name == ".." || name == "" || name == "sub" || name == "up/..") {
					continue // the reply names a folder, or the file
				}
				reply := c.cmd("", "%s %s", verb, name)
				if reply[0] != '5' && reply[0] != '4' {
					t.Errorf("%s %.60q: %q", verb, name, reply)
				}
				for _, leak := range []string{"outside", "openat", "no such file or directory", "too many", "not permitted"} {
					if strings.Contains(reply, leak) {
						t.Errorf("%s %.60q: reply has %q: %q", verb, name, leak, reply)
					}
				}
				if !strings.Contains(name, f.root) && strings.Contains(reply, filepath.Dir(f.root)) {
					t.Errorf("%s %.60q: reply has a host path: %q", verb, name, reply)
				}
			}
		})
	}
	if got := c.retr("small", 0); string(got) != "hello\nworld\r\n" {
		t.Errorf("after that, RETR small: %q", got)
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	f := start(t, loopback, nil)
	c := f.login("")
	before := tree(t, f.root)
	for _, tt := range [][2]string{
		{"STOR new", "553"}, {"STOR small", "553"}, {"APPE small", "553"}, {"DELE small", "550"}, {"MKD d", "550"}, {"XMKD d", "550"},
		{"RMD sub", "550"}, {"RNFR small", "550"}, {"RNTO other", "503"}, {"MFMT 20260101000000 small", "550"},
		{"STOU", "502"}, {"SITE CHMOD 777 small", "502"}, {"SITE RMDIR sub", "502"}, {"COMB new small", "502"}, {"ALLO 5", "502"},
		{"PORT 127,0,0,1,0,21", "502"}, {"EPRT |1|127.0.0.1|21|", "502"}, {"AUTH TLS", "502"}, {"PROT P", "502"}, {"MODE Z", "504"},
		{"HASH small", "502"}, {"XSHA256 small", "502"}, {"NONSENSE", "502"}, {"STAT", "502"}, {"XSEM", "502"}, {"", "502"}, {"RETRsmall", "502"},
	} {
		f.run("command "+tt[0], c, func(t *testing.T) {
			c.connect(c.port())
			c.cmd(tt[1], "%s", tt[0])
		})
	}
	c.cmd("350", "REST 1")
	c.cmd("553", "STOR small")
	if after := tree(t, f.root); after != before {
		t.Errorf("tree was\n%sand is\n%s", before, after)
	}
}

func tree(t *testing.T, root string) (all string) {
	filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		all += fmt.Sprintln(path, info.Mode(), info.Size(), info.ModTime())
		return nil
	})
	return all
}
