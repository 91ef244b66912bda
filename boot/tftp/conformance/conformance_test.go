package conformance

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/bootlace/bootlace/boot/nettest"
)

var (
	serverFlag = flag.String("server", "", "ask the server at `HOST:PORT`, and start none")
	treeFlag   = flag.String("tree", "", "`DIR` that the server serves, or takes files into; an absolute path")
	modeFlag   Mode
	makeTree   = flag.String("make-tree", "", "make `DIR` for a server to serve, and do no more; an absolute path")
	tableFlag  = flag.String("table", "", "write what was found, in Markdown, to `FILE`")
)

func init() {
	flag.TextVar(&modeFlag, "mode", Plain, "how that server is run: `MODE` is plain, single or upload")
}

func TestMain(m *testing.M) {
	flag.Parse()
	// Rows mostly wait. Unless told otherwise, many of them do so at once.
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		flag.Set("test.parallel", "64")
	}
	for _, dir := range []string{*treeFlag, *makeTree} {
		if dir != "" && !filepath.IsAbs(dir) {
			fmt.Fprintf(os.Stderr, "%s: the path is to be absolute, since tests run in their package's folder\n", dir)
			os.Exit(2)
		}
	}
	if *makeTree != "" {
		if err := MakeTree(*makeTree); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestConformance asks our server and those of others for every row, and logs
// a table. Ours must hold them all. With -server it asks that one alone.
func TestConformance(t *testing.T) {
	if *serverFlag != "" {
		testServer(t, *serverFlag, *treeFlag)
		return
	}
	nettest.NeedRoot(t)
	nettest.Need(t, "nft")
	for _, c := range contenders {
		// t, not the subtest's: our program is in its folder.
		t.Run(c.name, func(sub *testing.T) {
			if c == ours {
				c.path = c.find(t)
				return
			}
			c.path = c.find(sub)
		})
	}
	table := newTable(t, contenders)
	tree := filepath.Join(openDir(t), "root")
	if err := MakeTree(tree); err != nil {
		t.Fatal(err)
	}
	for _, m := range Modes {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			testMode(t, m, tree, table)
		})
	}
}

// testMode asks all contenders for the rows of one mode.
func testMode(t *testing.T, m Mode, tree string, table *table) {
	shared := map[*contender]*server{} // by the rows
	start := func(t *testing.T, c *contender) (s *server, why string) {
		dir := tree
		if m == Upload {
			dir = openDir(t)
		}
		if s = c.start(t, m, dir); s == nil {
			return nil, "has no such mode"
		}
		if v := answers.Run(&s.Target); !v.Holds() {
			s.stop()
			t.Errorf("%s: %s: %s", c.name, v.Detail, s.out.Bytes())
		}
		return s, ""
	}
	if m != Alone {
		for _, c := range contenders {
			if c.path != "" {
				shared[c], _ = start(t, c)
			}
		}
	}
	for i, row := range Rows() {
		if row.Mode != m {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			for j, c := range contenders {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					s, why := shared[c], "has no such mode"
					switch {
					case c.path == "":
						s, why = nil, "is not installed"
					case m == Alone:
						s, why = start(t, c)
					}
					v := Verdict{"–", why}
					if s != nil {
						target := s.Target
						target.Glance = !c.ours && !row.All
						v = row.Run(&target)
					}
					table.note(i, j, v)
					if s != nil && !v.Holds() && (c.ours || row.All) {
						t.Errorf("%s (RFC %s): %s", v.Word, row.Source, v.Detail)
					}
				})
			}
		})
	}
}

// testServer asks a server that somebody else started. Rows that want it alone
// come last, one by one.
func testServer(t *testing.T, address, tree string) {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	if tree == "" {
		t.Fatal("-tree is to name the folder of the server; -make-tree makes one")
	}
	if modeFlag != Upload {
		if err := CheckTree(tree); err != nil {
			t.Fatal(err)
		}
	}
	ap := at.AddrPort()
	target := &Target{Server: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), Dir: tree, Name: "server"}
	if v := answers.Run(target); !v.Holds() {
		t.Fatal(v.Detail)
	}
	table := newTable(t, []*contender{{name: address}})
	run := func(t *testing.T, i int, row Row) {
		v := row.Run(target)
		table.note(i, 0, v)
		switch v.Word {
		case "no":
			t.Errorf("RFC %s: %s", row.Source, v.Detail)
		case "–":
			t.Skip(v.Detail)
		}
	}
	t.Run(modeFlag.String(), func(t *testing.T) {
		for i, row := range Rows() {
			if row.Mode == modeFlag {
				t.Run(row.Name, func(t *testing.T) {
					t.Parallel()
					run(t, i, row)
				})
			}
		}
	})
	if modeFlag != Plain {
		return
	}
	t.Run(Alone.String(), func(t *testing.T) {
		for i, row := range Rows() {
			if row.Mode == Alone {
				t.Run(row.Name, func(t *testing.T) { run(t, i, row) })
			}
		}
	})
}

// openDir makes a folder that every user may read, and write to.
func openDir(t testing.TB) string {
	t.Helper()
	// Not t.TempDir: its parent is closed to the servers' users.
	dir, err := os.MkdirTemp("", "conformance")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A table is what servers did with rows.
type table struct {
	rows    []Row
	servers []*contender

	mu       sync.Mutex
	verdicts [][]Verdict // by row and server; a row that was not run has no words
}

// newTable returns a table that is logged when the test ends.
func newTable(t *testing.T, servers []*contender) *table {
	all := &table{rows: Rows(), servers: servers}
	for range all.rows {
		all.verdicts = append(all.verdicts, make([]Verdict, len(servers)))
	}
	t.Cleanup(func() {
		text := all.markdown()
		t.Log("\n" + text)
		if *tableFlag != "" {
			if err := os.WriteFile(*tableFlag, []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	return all
}

func (a *table) note(row, server int, v Verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verdicts[row][server] = v
}

// markdown renders the rows that were run. What does not hold has a footnote,
// one for the same reason.
func (a *table) markdown() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b, notes strings.Builder
	b.WriteString("| behaviour | RFC |")
	for _, c := range a.servers {
		fmt.Fprintf(&b, " %s |", c.title())
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(a.servers)) + "\n")
	held, numbers, asked := make([]int, len(a.servers)), map[string]int{}, 0
	for i, row := range a.rows {
		if a.verdicts[i][0].Word == "" {
			continue
		}
		asked++
		fmt.Fprintf(&b, "| %s | %s |", row.Name, row.Source)
		for j, c := range a.servers {
			v := a.verdicts[i][j]
			if v.Holds() {
				held[j]++
				fmt.Fprintf(&b, " %s |", strings.TrimSuffix("yes, "+v.Detail, ", "))
				continue
			}
			note := fmt.Sprintf("%s: %s", row.Name, v.Detail)
			if v.Word == "–" {
				note = v.Detail
			}
			note = c.name + ", " + note
			if numbers[note] == 0 {
				numbers[note] = len(numbers) + 1
				fmt.Fprintf(&notes, "%d. %s\n", numbers[note], note)
			}
			fmt.Fprintf(&b, " %s [%d] |", v.Word, numbers[note])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "| **held, of %d** | |", asked)
	for j := range a.servers {
		fmt.Fprintf(&b, " **%d** |", held[j])
	}
	return b.String() + "\n\n" + notes.String()
}

// title is the name and, where the program says one, the version.
func (c *contender) title() string {
	if c.path == "" {
		return c.name
	}
	out, _ := exec.Command(c.path, c.version...).CombinedOutput()
	return strings.TrimSpace(c.name + " " + regexp.MustCompile(`[0-9]+[.][0-9.]*[0-9]`).FindString(string(out)))
}
