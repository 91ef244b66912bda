package boot_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLong(t *testing.T) {
	for _, dir := range strings.Split(os.Getenv("DIRS"), ",") {
		files, _ := filepath.Glob("../" + dir + "/*.go")
		for _, path := range files {
			_, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range sentencesOf(t, path) {
				if n := len(strings.Fields(s)); n > 16 {
					t.Logf("%s %d: %s", strings.TrimPrefix(path, "../"), n, s)
				}
			}
		}
	}
}
