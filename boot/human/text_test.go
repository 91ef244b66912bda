package human

import "testing"

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name      string
		f         func(string) string
		text, got string
	}{
		{"line: an escape", Line, "a\x1b[2Jb\nc", "a?[2Jb?c"},
		{"line: letters stay", Line, "é 日 x", "é 日 x"},
		{"line: no UTF-8", Line, "a\xff\xfeb", "a??b"},
		{"line: a C1 control", Line, "a\u009bb", "a?b"},
		{"line: text from right to left", Line, "a\u202eb", "a?b"},
		{"lines: what follows is indented", Lines, "one\n\ttwo\r\n", "one\n  \ttwo?\n  "},
		{"lines: a server's words", Lines, "it says\r\nbootlace: done: \x1b[2Jé", "it says?\n  bootlace: done: ?[2Jé"},
		{"ascii: one column each", ascii, "é\x1b", "??"},
		{"label: padding", func(s string) string { return Label([]byte(s)) }, "  QEMU HARDDISK  \n", "QEMU HARDDISK"},
		{"label: no letters of ours", func(s string) string { return Label([]byte(s)) }, "A\x00\xffB\u00e9", "AB"},
		{"field: a NUL ends it", func(s string) string { return Field([]byte(s)) }, "BOOT\x00LACE", "BOOT"},
		{"field: spaces fill it", func(s string) string { return Field([]byte(s)) }, " NO NAME   ", " NO NAME"},
		{"cut: short", func(s string) string { return Cut(s, 5) }, "abc", "abc"},
		{"cut: between two characters", func(s string) string { return Cut(s, 2) }, "aé", "a"},
		{"cut: nothing is left", func(s string) string { return Cut(s, 1) }, "日", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.f(tt.text); got != tt.got {
				t.Errorf("%q becomes %q, want %q", tt.text, got, tt.got)
			}
		})
	}
}
