package pull

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An oddFTP is a server with the faults of its fields.
type oddFTP struct {
	content []byte
	replies map[string]string // by command, instead of what is right
	end     string            // instead of 226; "-" closes the connection
	only    int32             // how many times; 0: always
	data    atomic.Int32      // data connections that came
}

func (o *oddFTP) serve(t *testing.T) string {
	return "ftp://" + listen(t, "127.0.0.1:0", func(c net.Conn) { o.session(t, c) }) + "/"
}

func (o *oddFTP) session(t *testing.T, c net.Conn) {
	defer c.Close()
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 odd")
	var ln net.Listener
	rest, port := 0, 0
	for lines := bufio.NewScanner(c); lines.Scan(); {
		command, arg, _ := strings.Cut(lines.Text(), " ")
		if command == "EPSV" || command == "PASV" {
			var err error
			if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				t.Error(err)
				return
			}
			defer ln.Close()
			port = ln.Addr().(*net.TCPAddr).Port
		}
		if r, ok := o.replies[command]; ok {
			say(strings.ReplaceAll(r, "PORT", fmt.Sprintf("%d,%d", port>>8, port&255)))
			continue
		}
		switch command {
		case "USER":
			say("230 hello")
		case "SIZE":
			say("213 %d", len(o.content))
		case "EPSV":
			say("229 Extended (|||%d|)", port)
		case "REST":
			fmt.Sscan(arg, &rest)
			say("350 ok")
		case "RETR":
			say("150 here it comes")
			d, err := ln.Accept()
			if err != nil {
				return
			}
			o.data.Add(1)
			d.Write(o.content[min(rest, len(o.content)):])
			d.Close()
			rest = 0
			switch {
			case o.end == "" || o.only > 0 && o.data.Load() > o.only:
				say("226 done")
			case o.end == "-":
				return
			default:
				say(o.end)
			}
		case "QUIT":
			return
		default:
			say("200 ok")
		}
	}
}

func TestOddFTP(t *testing.T) {
	want := content(100_000, 40)
	half := want[:50_000]
	for _, tt := range []struct {
		name    string
		server  *oddFTP
		digest  bool
		want    string // in the error, "" for none
		dropped int64
	}{
		{name: "right", server: &oddFTP{}, digest: true},
		{name: "no EPSV, and PASV names a foreign host", digest: true,
			server: &oddFTP{replies: map[string]string{"EPSV": "500 what", "PASV": "227 Passive (10,255,255,1,PORT)"}}},
		{name: "no REST", digest: true, dropped: 50_000,
			server: &oddFTP{replies: map[string]string{"REST": "502 no"}}},
		{name: "no SIZE, no digest", dropped: 50_000,
			server: &oddFTP{replies: map[string]string{"SIZE": "550 SIZE not allowed"}}},
		{name: "no 226 but the digest", digest: true, server: &oddFTP{end: "-"}},
		{name: "no 226", server: &oddFTP{end: "-"}, want: "end of transfer", dropped: 50_000},
		{name: "426 instead of 226", server: &oddFTP{end: "426 broken"}, want: `server answers 426 "broken"`, dropped: 50_000},
		{name: "550 instead of 226", server: &oddFTP{end: "550 oops"}, want: "no new byte for", dropped: 50_000},
		{name: "terminal codes in a reply", server: &oddFTP{replies: map[string]string{"RETR": "450 \x1b[2J" + strings.Repeat("x", 500)}}, want: `server answers 450 "\x1b[2J`},
		{name: "a reply without end", server: &oddFTP{replies: map[string]string{"SIZE": strings.Repeat("2", 1<<20)}}, want: "malformed"},
		{name: "replies without end", server: &oddFTP{replies: map[string]string{"SIZE": strings.Repeat("213-x\r\n", 20_000)}}, want: "more than 65536 bytes"},
		{name: "a size that is none", server: &oddFTP{replies: map[string]string{"SIZE": "213 -5"}}, dropped: 50_000},
		{name: "a PASV reply over which the library trips", want: "cannot be understood",
			server: &oddFTP{replies: map[string]string{"EPSV": "500 what", "PASV": "227 )("}}},
		{name: "no user", server: &oddFTP{replies: map[string]string{"USER": "530 go \x1baway"}}, want: `log in: "go \x1baway"`},
		{name: "no login", server: &oddFTP{replies: map[string]string{"USER": "331 and?", "PASS": "530 go away"}}, want: `530 "go away": permission denied`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.content = want
			f := file("x", want)
			if !tt.digest {
				f.SHA256 = ""
			}
			p, changes := puller(t, tt.server.serve(t))
			p.Timing.GiveUp = time.Millisecond
			got := bytes.NewBuffer(bytes.Clone(half))
			err := p.Resume(guarded(t), f, Held{Bytes: bytes.NewReader(half)}, got)
			if tt.want == "" && (err != nil || !bytes.Equal(got.Bytes(), want)) {
				t.Errorf("%d bytes, error %v", got.Len(), err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if c := (*changes)[0]; c.Dropped != tt.dropped {
				t.Errorf("%d bytes were sent again, want %d", c.Dropped, tt.dropped)
			}
		})
	}
}

// A connection that ends without 226 is asked for the nothing that is missing.
func TestFTPProvesTheEnd(t *testing.T) {
	o := &oddFTP{content: content(10_000, 41), end: "-", only: 2}
	p, changes := puller(t, o.serve(t))
	var got bytes.Buffer
	if err := p.Fetch(guarded(t), File{Name: "x", Size: 10_000}, &got); err != nil || !bytes.Equal(got.Bytes(), o.content) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if len(*changes) != 3 {
		t.Errorf("%d attempts", len(*changes))
	}
}

func TestFTPName(t *testing.T) {
	for source, want := range map[string]string{"ftp://h/": "x y", "ftp://h/a/": "a/x y", "ftp://h/%2Fsrv/": "/srv/x y"} {
		t.Run(source, func(t *testing.T) {
			u, err := fileURL(source, "x y")
			if err != nil {
				t.Fatal(err)
			}
			if got := ftpName(u); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestBadSources(t *testing.T) {
	for _, source := range []string{"", "x", "/etc/", "http:///", "http://%zz/", "gopher://h/"} {
		t.Run(fmt.Sprintf("%q", source), func(t *testing.T) {
			p, _ := puller(t, source)
			if err := p.Fetch(guarded(t), File{Name: "x", Size: -1}, io.Discard); !errors.Is(err, errors.ErrUnsupported) {
				t.Error(err)
			}
		})
	}
	p, _ := puller(t, "ftp://127.0.0.1:1/")
	if err := p.Fetch(guarded(t), File{Name: "x\r\nDELE x", Size: -1}, io.Discard); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a name with a command in it: %v", err)
	}
	if err := new(Puller).Fetch(t.Context(), File{Name: "x"}, io.Discard); err == nil || !strings.Contains(err.Error(), "no sources") {
		t.Errorf("no sources: %v", err)
	}
}
