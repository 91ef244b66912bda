package human

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes text fit for one line of a log or a terminal. What does not print
// becomes '?', among it the escapes that would command a terminal. The result
// has no more bytes than s.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// Lines is Line for text of several lines; tabs stay. The second line and
// those after it are indented, so that none looks like one of our own.
func Lines(s string) string {
	s = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (r == utf8.RuneError || !unicode.IsPrint(r)) {
			return '?'
		}
		return r
	}, s)
	return strings.ReplaceAll(s, "\n", "\n  ")
}

// Cut returns the beginning of s in at most n bytes, cut between two characters.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Label reads what hardware says of itself, such as a disk's serial. Padding
// is dropped, and so is all that is not printable ASCII.
func Label(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b)))
}

// Field reads a text field of fixed length, as file systems keep their labels. A
// NUL ends it, and spaces fill it.
func Field(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimRight(string(b), " ")
}

// ascii replaces all that is not one column of ASCII.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
