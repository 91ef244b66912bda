package files

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// Clean resolves names from the network. It is the only place that does. It
// returns a slash-separated path without a leading slash, "." for the tree's
// root.
//
// Backslashes become slashes, since firmware and Windows loaders send them.
// Empty and "." elements are dropped, since shim asks for "//grubx64.efi".
//
// The error is fs.ErrNotExist where an element starts with a dot: those are
// hidden. It is fs.ErrInvalid for "..", control characters, text that is not
// UTF-8, and names longer than Linux allows.
func Clean(name string) (string, error) {
	const maxPath, maxName = 4095, 255 // PATH_MAX, NAME_MAX
	if len(name) > maxPath || !utf8.ValidString(name) {
		return "", invalid(name, fs.ErrInvalid)
	}
	var elems []string
	hidden := false
	for e := range strings.SplitSeq(strings.ReplaceAll(name, `\`, "/"), "/") {
		switch {
		case e == "" || e == ".":
			continue
		case e == ".." || len(e) > maxName || strings.ContainsFunc(e, isControl):
			return "", invalid(name, fs.ErrInvalid)
		case e[0] == '.':
			hidden = true
		}
		elems = append(elems, e)
	}
	if hidden {
		return "", invalid(name, fs.ErrNotExist)
	}
	if len(elems) == 0 {
		return ".", nil
	}
	return strings.Join(elems, "/"), nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// invalid makes an error with the name in it. The name is a stranger's, so it
// is quoted and shortened for a log line.
func invalid(name string, err error) error {
	name = fmt.Sprintf("%.200q", name)
	return &fs.PathError{Op: "open", Path: name[1 : len(name)-1], Err: err}
}
