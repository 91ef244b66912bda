package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
)

func TestFiles(t *testing.T) {
	f := start(t, nil)
	all := string(pattern(big))
	n := 0
	for _, tt := range []struct {
		path, rng string
		status    int
		body      string
		text      string
	}{
		{"/small", "", 200, "hello", "http: sent small, 5 bytes"},
		{"//small", "", 200, "hello", "http: sent small, 5 bytes"},
		{`/%5Csmall`, "", 200, "hello", "http: sent small, 5 bytes"},
		{"/empty", "", 200, "", "http: sent empty, 0 bytes"},
		{"/big", "", 200, all, fmt.Sprintf("http: sent big, %d bytes", big)},
		{"/big", "bytes=1000000-", 206, all[1000000:], fmt.Sprintf("http: sent big, bytes 1000000-%d/%d", big-1, big)},
		{"/big", "bytes=5-9", 206, all[5:10], fmt.Sprintf("http: sent big, bytes 5-9/%d", big)},
		{"/big", "bytes=-7", 206, all[big-7:], fmt.Sprintf("http: sent big, bytes %d-%d/%d", big-7, big-1, big)},
		{"/plan/made", "", 200, "for 127.0.0.1", "http: sent plan/made, 13 bytes"},
		{"/none", "", 404, "no such file\n", "http: none: no such file"},
	} {
		f.run(tt.path+" "+tt.rng, func(t *testing.T) {
			var h []string
			if tt.rng != "" {
				h = []string{"Range", tt.rng}
			}
			res, body := f.do("GET", tt.path, h...)
			if res.StatusCode != tt.status || body != tt.body {
				t.Errorf("GET %s %s: %s, %d bytes, want %d with %d", tt.path, tt.rng, res.Status, len(body), tt.status, len(tt.body))
			}
			n++
			ev := f.noted(n)
			want := int64(len(tt.body))
			if tt.status == 404 {
				want = 0
			}
			if ev.Kind != boot.KindServe || ev.Proto != "http" || ev.Bytes != want || !strings.HasPrefix(ev.Text, tt.text) || f.froms[n-1] != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("GET %s %s: noted %+v", tt.path, tt.rng, ev)
			}
			if name := strings.Trim(strings.ReplaceAll(tt.path, "%5C", ""), "/"); ev.File != name {
				t.Errorf("noted file %q, want %q", ev.File, name)
			}
		})
	}
}

func TestFilesNobodyGets(t *testing.T) {
	f := start(t, nil)
	for _, path := range []string{
		"/../secret", "/%2e%2e/secret", `/..%5csecret`, "/sub/../../secret", "/escape", "/.key", "/.hidden/x", "/.hidden", "/.hidden/",
		"/sub/../.key", "/small/", "/small/x", "/a%00b", "/a%0d%0aSet-Cookie:x", "/%ff", "/" + strings.Repeat("a", 5000),
	} {
		t.Run(fmt.Sprintf("%.40q", path), func(t *testing.T) {
			// Without net/http, whose client would clean the path.
			c, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
			raw, err := io.ReadAll(c)
			c.Close()
			answer := string(raw)
			if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 40") {
				t.Errorf("GET %.40s: %v, %.100q", path, err, answer)
			}
			for _, leak := range []string{"outside", "Set-Cookie", os.TempDir(), "openat", "root"} {
				if strings.Contains(answer, leak) {
					t.Errorf("GET %.40s: answer has %q: %q", path, leak, answer)
				}
			}
		})
	}
}

func TestConditions(t *testing.T) {
	f := start(t, nil)
	res, body := f.do("HEAD", "/small")
	etag, mod := res.Header.Get("ETag"), res.Header.Get("Last-Modified")
	if res.StatusCode != 200 || body != "" || res.ContentLength != 5 || etag == "" || mod == "" || res.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("HEAD: %s %v", res.Status, res.Header)
	}
	for _, tt := range []struct {
		name, value string
		status      int
	}{
		{"If-None-Match", etag, 304},
		{"If-Modified-Since", mod, 304},
		{"If-Range", etag, 206},
		{"If-Range", `"other"`, 200},
		{"If-Match", `"other"`, 412},
	} {
		f.run(tt.name+" "+tt.value, func(t *testing.T) {
			if res, _ := f.do("GET", "/small", tt.name, tt.value, "Range", "bytes=1-2"); res.StatusCode != tt.status {
				t.Errorf("%s %s: %s, want %d", tt.name, tt.value, res.Status, tt.status)
			}
		})
	}
	if res, _ := f.do("GET", "/small", "Range", "bytes=5-"); res.StatusCode != 416 {
		t.Errorf("range behind the end: %s", res.Status)
	}
	for path, want := range map[string]string{
		"/small": "application/octet-stream", "/page.html": "application/octet-stream", "/boot.cfg": "text/plain; charset=utf-8",
	} {
		f.run(path, func(t *testing.T) {
			res, _ := f.do("GET", path)
			if got := res.Header.Get("Content-Type"); got != want || res.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s is %s", path, got)
			}
		})
	}
	if res, _ := f.do("GET", "/plan/made"); res.Header.Get("ETag") != "" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a made file may be kept: %v", res.Header)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE"} {
		f.run(method, func(t *testing.T) {
			if res, _ := f.do(method, "/small"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: %s", method, res.Status)
			}
		})
	}
}

func TestListing(t *testing.T) {
	f := start(t, nil)
	if _, body := f.do("GET", "/"); body != "big\nboot.cfg\nempty\npage.html\nsmall\nsub/\n" {
		t.Errorf("listing is %q", body)
	}
	res, body := f.do("GET", "/sub")
	if loc := res.Header.Get("Location"); res.StatusCode != 301 || loc != "./sub/" {
		t.Errorf("folder without its slash: %s %q %q", res.Status, loc, body)
	}
	res, body = f.do("GET", "/sub/", "Accept", "text/html,*/*")
	if res.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.Contains(body, `<a href="./a%20%3Cb%3E&amp;.c">a &lt;b&gt;&amp;.c</a>`) {
		t.Errorf("page is %s", body)
	}
	if res, _ := f.do("GET", "//evil.example/sub"); res.StatusCode != 404 {
		t.Errorf("//evil.example/sub: %s %s", res.Status, res.Header.Get("Location"))
	}
}

func TestBrokenDownloadIsNoted(t *testing.T) {
	f := start(t, func(s *Server) {
		s.Timing.Stall = 300 * time.Millisecond
	})
	if err := os.Truncate(filepath.Join(filepath.Dir(f.sock), "root", "big"), 256<<20); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	// A client that reads nothing is cut off.
	if ev := f.noted(1); !strings.Contains(ev.Text, "broke off after") || ev.Bytes >= ev.Total || ev.Total != 256<<20 || ev.Took <= 0 {
		t.Errorf("noted %+v", ev)
	}
}

func TestEndsInMidDownload(t *testing.T) {
	f := start(t, nil)
	if err := os.Truncate(filepath.Join(filepath.Dir(f.sock), "root", "big"), 256<<20); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	idle, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	f.stop()
}
