package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	return "http://" + serveHTTP(t, "127.0.0.1:0", h, nil) + "/"
}

// Servers that answer a request for a range in ways of their own.
func TestRangeAnswers(t *testing.T) {
	want := content(1000, 20)
	half := want[:500]
	respond := func(status int, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Range"); got != "bytes=500-" {
				http.Error(w, "range is "+got, http.StatusTeapot)
				return
			}
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(status)
			w.Write(body)
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    string // in the error, "" for none
	}{
		{"206", respond(206, "bytes 500-999/1000", want[500:]), ""},
		{"206, size not told", respond(206, "bytes 500-999/*", want[500:]), ""},
		{"200", respond(200, "", want), ""},
		{"200, another file", respond(200, "", content(1000, 21)), "are others than those held"},
		{"200, a shorter file", respond(200, "", want[:400]), "server has 400 bytes, want 1000"},
		{"206 from elsewhere", respond(206, "bytes 0-999/1000", want), "server begins at byte 0, asked for 500"},
		{"206 of another size", respond(206, "bytes 500-1999/2000", content(1500, 1)), "server has 2000 bytes, want 1000"},
		{"206 of a piece", respond(206, "bytes 500-599/1000", want[500:600]), "server offers bytes up to 600 of 1000"},
		{"206 without a range", respond(206, "", want[500:]), `Content-Range ""`},
		{"206 with more than it says", respond(206, "bytes 500-999/1000", append(bytes.Clone(want[500:]), 1)), "more than 1000 bytes"},
		{"206 with less than it says", respond(206, "bytes 500-999/1000", want[500:900]), "ended after 900 of 1000 bytes"},
		{"416", respond(416, "bytes */500", nil), "server has"},
		{"500", respond(500, "", nil), "500 Internal Server Error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := puller(t, serve(t, tt.handler))
			p.Timing.GiveUp = time.Millisecond
			got := bytes.NewBuffer(bytes.Clone(half))
			err := p.Resume(guarded(t), file("x", want), Held{Bytes: bytes.NewReader(half)}, got)
			if tt.want == "" && (err != nil || !bytes.Equal(got.Bytes(), want)) {
				t.Errorf("%d bytes, error %v", got.Len(), err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Without a digest a server that ignores If-Range is found out by its ETag, one
// whose file is as young as its answer by its bytes.
func TestValidators(t *testing.T) {
	answered := time.Now().UTC().Format(http.TimeFormat) // which is when the file is young
	for _, tt := range []struct {
		name   string
		header string
		value  func(version int) string
	}{
		{"ETag", "ETag", func(v int) string { return fmt.Sprintf(`"v%d"`, v) }},
		{"weak ETag", "ETag", func(int) string { return `W/"v"` }},
		{"young", "Last-Modified", func(int) string { return answered }},
		{"none", "X-None", func(int) string { return "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := 0
			p, changes := puller(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				v++
				body := content(200_000, byte(30+v))
				w.Header().Set("Date", answered)
				w.Header().Set(tt.header, tt.value(v))
				if r.Header.Get("Range") != "" {
					w.Header().Set("Content-Range", "bytes 100000-199999/200000")
					w.Header().Set("Content-Length", "100000")
					w.WriteHeader(http.StatusPartialContent)
					w.Write(body[100_000:])
					return
				}
				w.Header().Set("Content-Length", "200000")
				if v == 1 {
					body = body[:100_000] // and then the connection ends
				}
				w.Write(body)
			}))
			var got bytes.Buffer
			err := p.Fetch(guarded(t), File{Name: "x", Size: -1}, &got)
			if !errors.Is(err, ErrChanged) || len(*changes) != 2 {
				t.Errorf("error %v after %d attempts, want ErrChanged", err, len(*changes))
			}
		})
	}
}

func TestHTTPRefusals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		is      error
		want    string
	}{
		{"403", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, fs.ErrPermission, "403 Forbidden"},
		{"410", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(410) }, fs.ErrNotExist, "410 Gone"},
		{"a redirect without end", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", 302) }, nil, "more than 5 redirects"},
		{"a redirect to a file", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "file:///etc/passwd", 302) }, nil, "unsupported protocol scheme"},
		{"no end", func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nabc")
			c.Close()
		}, nil, "neither the size of the file nor where it ends"},
		{"a header without end", func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX: %s\r\n\r\n", strings.Repeat("x", 1<<20))
			c.Close()
		}, nil, "headers exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := puller(t, serve(t, tt.handler))
			p.Timing.GiveUp = time.Millisecond
			err := p.Fetch(guarded(t), File{Name: "x", Size: -1}, io.Discard)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// A server that refuses on all protocols is not asked again and again, one that
// refuses on one of them is asked by the other.
func TestRefused(t *testing.T) {
	no := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) })
	yes := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	p, changes := puller(t, no, "gopher://127.0.0.1/", no)
	if err := p.Fetch(guarded(t), File{Name: "x", Size: -1}, io.Discard); !errors.Is(err, fs.ErrPermission) || len(*changes) != 3 {
		t.Errorf("error %v after %d attempts", err, len(*changes))
	}
	p, changes = puller(t, no, yes)
	if err := p.Fetch(guarded(t), File{Name: "x", Size: -1}, io.Discard); err != nil || len(*changes) != 2 {
		t.Errorf("error %v after %d attempts", err, len(*changes))
	}
}

func TestNoPasswordInErrors(t *testing.T) {
	p, changes := puller(t, "http://me:secret@127.0.0.1:1/", "ftp://me:secret@127.0.0.1:1/")
	p.Timing.GiveUp = time.Millisecond
	err := p.Fetch(guarded(t), File{Name: "x", Size: -1}, io.Discard)
	if all := fmt.Sprint(err, *changes); err == nil || strings.Contains(all, "secret") {
		t.Errorf("%s", all)
	}
}

func TestIPv6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on loopback: %v", err)
	}
	ln.Close()
	want := content(100_000, 22)
	dir := tree(t)
	put(t, dir, "x", want)
	for scheme, addr := range map[string]string{
		"http": serveHTTP(t, "[::1]:0", http.FileServer(http.Dir(dir)), nil),
		"ftp":  vsftpd(t, dir, "::1"),
	} {
		t.Run(scheme, func(t *testing.T) {
			p, _ := puller(t, scheme+"://"+addr+"/")
			var got bytes.Buffer
			if err := p.Fetch(guarded(t), file("x", want), &got); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Error(err)
			}
		})
	}
}

// Memory does not grow with the file.
func TestBounded(t *testing.T) {
	const n = 64 << 20
	piece := make([]byte, 1<<20)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range n / len(piece) {
			w.Write(piece)
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, _ := puller(t, url)
	if err := p.Fetch(guarded(t), File{Name: "x", Size: n}, io.Discard); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", got, n)
	}
}

func TestListings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		parse      func(string) []Entry
		want       []Entry
	}{
		{"Go", "<pre>\n<a href=\"a%20b.raw.zst\">a b.raw.zst</a>\n<a href=\"sub/\">sub/</a>\n</pre>", parseLinks,
			[]Entry{{Name: "a b.raw.zst", Size: -1}, {Name: "sub", Dir: true, Size: -1}}},
		{"Apache", `<a href="?C=N;O=D">Name</a><a href="/">Parent</a> <a href='x&amp;y'>x</a><a href=../>up</a><a href=z >z</a>`, parseLinks,
			[]Entry{{Name: "x&y", Size: -1}, {Name: "z", Size: -1}}},
		{"elsewhere", `<a href="http://other/x">x</a><a href="a/b">b</a><a href="x">x</a><a href="x">x</a><a href="`, parseLinks,
			[]Entry{{Name: "x", Size: -1}}},
		{"plain", "a\r\nsub/\n\nb\n", parseLines,
			[]Entry{{Name: "a", Size: -1}, {Name: "sub", Dir: true, Size: -1}, {Name: "b", Size: -1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.parse(tt.text); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "bytes 5-9/*", "bytes */10", "bytes */*", "bytes +5-9/10", "bytes 9-5/10", "bytes 0-10/10", "items 0-1/2", "", "bytes 0-9223372036854775807/9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		first, last, size, err := parseContentRange(v)
		if err != nil {
			return
		}
		span := "*"
		if first >= 0 {
			span = fmt.Sprintf("%d-%d", first, last)
		}
		total := "*"
		if size >= 0 {
			total = fmt.Sprint(size)
		}
		if first > last || size >= 0 && last >= size || first < 0 && size < 0 {
			t.Errorf("%q is read as %d-%d/%d", v, first, last, size)
		}
		if a, b, c, err := parseContentRange("bytes " + span + "/" + total); err != nil || a != first || b != last || c != size {
			t.Errorf("%q does not come back", v)
		}
	})
}

func FuzzParseLinks(f *testing.F) {
	f.Add("<a href=\"a%20b\">")
	f.Add("<a href='x/'>href=\"../..\" href=%2f%2e%2e")
	f.Fuzz(func(t *testing.T, page string) {
		for _, e := range append(parseLinks(page), parseLines(page)...) {
			if e.Name == "" || e.Name == "." || e.Name == ".." || strings.Contains(e.Name, "/") {
				t.Errorf("entry %q", e.Name)
			}
		}
	})
}
