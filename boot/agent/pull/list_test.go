package pull

import "testing"

// Listings escape what HTML needs. Anything else is left alone.
func TestUnescapeHTML(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing to do", "lab.raw.zst", "lab.raw.zst"},
		{"names", "&lt;a&gt;&amp;&quot;&apos;", `<a>&"'`},
		{"decimal", "a&#38;b&#39;", "a&b'"},
		{"hexadecimal", "a&#x26;b&#X26;", "a&b&"},
		{"once", "&amp;lt;", "&lt;"},
		{"query of another page", "?C=N&O=D;x", "?C=N&O=D;x"},
		{"unknown name", "&eacute;&nope;", "&eacute;&nope;"},
		{"cut off", "a&amp", "a&amp"},
		{"no number", "&#;&#x;&#xx26;&#0;&#-1;&#99999999;", "&#;&#x;&#xx26;&#0;&#-1;&#99999999;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := unescapeHTML(tt.in); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
