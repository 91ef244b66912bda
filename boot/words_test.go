package boot_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// How long sentences in comments may be, in words.
const (
	medianSentence = 10
	longSentence   = 20 // of nine in ten
)

// TestSentences holds comments to short sentences, tests' too. With -v it
// prints each package's figures and its longest sentences.
func TestSentences(t *testing.T) {
	var all []int
	packages := map[string][]string{}
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
			dir := filepath.Dir(path)
			packages[dir] = append(packages[dir], sentencesOf(t, path)...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, list := range packages {
		var lengths []int
		for _, s := range list {
			lengths = append(lengths, len(strings.Fields(s)))
		}
		all = append(all, lengths...)
		median, nine := percentiles(lengths)
		t.Logf("%s: %d sentences, median %d words, nine in ten within %d", dir, len(list), median, nine)
		slices.SortFunc(list, func(a, b string) int { return len(strings.Fields(b)) - len(strings.Fields(a)) })
		for _, s := range list[:min(3, len(list))] {
			t.Logf("\t%d: %s", len(strings.Fields(s)), s)
		}
	}
	median, nine := percentiles(all)
	t.Logf("all: %d sentences, median %d words, nine in ten within %d", len(all), median, nine)
	if median > medianSentence || nine > longSentence {
		t.Errorf("sentences in comments: median %d words, to be at most %d; nine in ten within %d, to be at most %d",
			median, medianSentence, nine, longSentence)
	}
}

// percentiles are the median and the 90th percentile.
func percentiles(n []int) (median, nine int) {
	if len(n) == 0 {
		return 0, 0
	}
	slices.Sort(n)
	return n[len(n)/2], n[len(n)*9/10]
}

// sentenceEnd is a full stop, question or exclamation mark before a space.
var sentenceEnd = regexp.MustCompile(`[.!?][)"']*\s+`)

// sentencesOf are the sentences in the comments of one file. Indented lines
// are code or tables, and count as none.
func sentencesOf(t *testing.T, path string) []string {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var sentences []string
	for _, group := range file.Comments {
		for _, paragraph := range paragraphs(group) {
			for _, s := range sentenceEnd.Split(paragraph, -1) {
				if s = strings.TrimSpace(s); s != "" {
					sentences = append(sentences, s)
				}
			}
		}
	}
	return sentences
}

// paragraphs are the blocks of text between empty and indented lines.
func paragraphs(group *ast.CommentGroup) []string {
	var list []string
	text := ""
	for line := range strings.Lines(group.Text() + "\n") { // without directives
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || line[0] == '\t' || line[0] == ' ':
			list, text = append(list, text), ""
		case line[0] == '#' || line[0] == '-':
			list, text = append(list, text), line
		default:
			text += " " + line
		}
	}
	return append(list, text)
}
