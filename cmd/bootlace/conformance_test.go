package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

var conformanceTable = flag.String("conformance.table", "", "write what TestConformance found, in Markdown, to `FILE`")

// A behaviour is a row of the table.
type behaviour struct {
	name   string
	source string // the RFC that says so, and its section where it has numbers
	mode   mode
	check  func(p *probe)
	all    bool // every server must hold it, or the test itself is wrong
}

// A probe is one check of one server. A check returns where the behaviour
// holds, and ends by failf or dash where it does not.
type probe struct {
	*server
	t       testing.TB
	bind    uint16   // port that the next client opens; 0 is any
	notes   []string // figures, for the table
	closers []func()
}

// A verdict is a cell of the table.
type verdict struct {
	word   string // yes, no, or a dash where the question makes no sense
	detail string
}

func (p *probe) failf(format string, args ...any) { panic(verdict{"no", fmt.Sprintf(format, args...)}) }

// dash ends a check for a server that does not have what it is about.
func (p *probe) dash(why string) { panic(verdict{"–", why}) }

func (p *probe) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// run checks one behaviour of one server.
func (b *behaviour) run(t testing.TB, s *server) (v verdict) {
	p := &probe{server: s, t: t}
	defer func() {
		for _, c := range p.closers {
			c()
		}
		switch r := recover().(type) {
		case nil:
			v = verdict{"yes", strings.Join(p.notes, ", ")}
		case verdict:
			v = r
		default:
			panic(r)
		}
	}()
	b.check(p)
	return v
}

// TestConformance asks our server and those of others for every behaviour that
// the RFCs demand, by raw packets, and prints a table. Ours must hold them all.
//
//	go test -run Conformance -v ./cmd/bootlace
//	go test -run Conformance ./cmd/bootlace -conformance.table FILE
func TestConformance(t *testing.T) {
	nettest.NeedRoot(t)
	nettest.Need(t, "nft")
	t.Parallel() // it mostly waits
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) { c.path = c.find(t) })
	}
	root := conformanceFiles(t)
	results := make([][]verdict, len(behaviours))
	for i := range results {
		results[i] = make([]verdict, len(contenders))
	}
	var checks sync.WaitGroup
	for _, m := range []mode{plain, single, upload, alone} {
		for j, c := range contenders {
			for _, rows := range groups(m) {
				var s *server
				why := "is not installed"
				if c.path != "" {
					dir := root
					if m == upload {
						dir = openDir(t)
					}
					s, why = startServer(t, c, m, dir), "has no such mode"
				}
				if s == nil {
					for _, i := range rows {
						results[i][j] = verdict{"–", why}
					}
					continue
				}
				checks.Go(func() {
					defer s.stop()
					err := s.ready(t)
					var each sync.WaitGroup
					for _, i := range rows {
						if err != nil {
							results[i][j] = verdict{"no", err.Error()}
							continue
						}
						each.Go(func() { results[i][j] = behaviours[i].run(t, s) })
						time.Sleep(20 * time.Millisecond) // all at once would be a storm of its own
					}
					each.Wait()
				})
			}
		}
	}
	checks.Wait()

	for i, b := range behaviours {
		t.Run(fullName(i), func(t *testing.T) {
			for j, c := range contenders {
				if v := results[i][j]; v.word != "yes" && c.path != "" && (j == 0 || b.all) {
					t.Errorf("%s: %s (RFC %s): %s", c.name, v.word, b.source, v.detail)
				}
			}
		})
	}
	table := markdown(results)
	t.Log("\n" + table)
	if *conformanceTable != "" {
		if err := os.WriteFile(*conformanceTable, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// groups are the rows that share a server.
func groups(m mode) [][]int {
	var rows []int
	for i, b := range behaviours {
		if b.mode == m {
			rows = append(rows, i)
		}
	}
	if m == alone {
		return slices.Collect(slices.Chunk(rows, 1))
	}
	return [][]int{rows}
}

// fullName puts the row that a name with an ellipsis goes on from before it.
func fullName(i int) string {
	rest, ok := strings.CutPrefix(behaviours[i].name, "… ")
	if !ok {
		return behaviours[i].name
	}
	for i--; strings.HasPrefix(behaviours[i].name, "… "); i-- {
	}
	return behaviours[i].name + ", " + rest
}

// markdown renders the table; what does not hold has a footnote, one for the
// same reason.
func markdown(results [][]verdict) string {
	var b, notes strings.Builder
	b.WriteString("| behaviour | RFC |")
	for _, c := range contenders {
		fmt.Fprintf(&b, " %s |", c.title())
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(contenders)) + "\n")
	held, numbers := make([]int, len(contenders)), map[string]int{}
	for i, row := range behaviours {
		fmt.Fprintf(&b, "| %s | %s |", row.name, row.source)
		for j, c := range contenders {
			v := results[i][j]
			if v.word == "yes" {
				held[j]++
				fmt.Fprintf(&b, " %s |", strings.TrimSuffix("yes, "+v.detail, ", "))
				continue
			}
			note := fmt.Sprintf("%s: %s", fullName(i), v.detail)
			if v.word == "–" {
				note = v.detail
			}
			note = c.name + ", " + note
			if numbers[note] == 0 {
				numbers[note] = len(numbers) + 1
				fmt.Fprintf(&notes, "%d. %s\n", numbers[note], note)
			}
			fmt.Fprintf(&b, " %s [%d] |", v.word, numbers[note])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "| **held, of %d** | |", len(behaviours))
	for j := range contenders {
		fmt.Fprintf(&b, " **%d** |", held[j])
	}
	return b.String() + "\n\n" + notes.String()
}

// title is the name and, where the program says one, the version.
func (c *contender) title() string {
	out, _ := exec.Command(c.path, c.version...).CombinedOutput()
	return strings.TrimSpace(c.name + " " + regexp.MustCompile(`[0-9]+[.][0-9.]*[0-9]`).FindString(string(out)))
}
