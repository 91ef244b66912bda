package web

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/files"
)

// file serves the tree.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		text(w, http.StatusMethodNotAllowed, "files are for reading")
		return
	}
	who, begin := files.Client{Addr: client(r), Via: "http"}, time.Now()
	f, err := s.Tree.Open(r.Context(), who, r.URL.Path)
	if errors.Is(err, syscall.EISDIR) {
		s.list(w, r, who)
		return
	}
	name := strings.TrimLeft(r.URL.Path, "/")
	if err == nil && strings.HasSuffix(name, "/") {
		f.Close()
		err = fs.ErrNotExist
	}
	if err != nil {
		s.Tree.Done(who, files.Refused(name, refuse(w, err)))
		return
	}
	defer f.Close()

	w.Header().Set("Content-Type", contentType(f.Name()))
	if mod := f.ModTime(); !mod.IsZero() {
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, mod.UnixNano(), f.Size()))
	} else {
		w.Header().Set("Cache-Control", "no-store") // made on the fly, for this client
	}
	a := &answer{ResponseWriter: w, stall: s.Timing.Stall}
	http.ServeContent(a, r, "", f.ModTime(), content(f))
	if hasBody(r, a) {
		s.Tree.Done(who, outcome(f, a, time.Since(begin)))
	}
}

// content is the file itself where there is one, for sendfile.
func content(f *files.File) io.ReadSeeker {
	if f.OS() != nil {
		return f.OS()
	}
	return f
}

// hasBody reports whether an answer had bytes of a file in it.
func hasBody(r *http.Request, a *answer) bool {
	return r.Method == http.MethodGet && (a.status == http.StatusOK || a.status == http.StatusPartialContent)
}

// outcome says how much of a file the client took.
func outcome(f *files.File, a *answer, took time.Duration) files.Outcome {
	o := files.Outcome{File: f.Name(), Bytes: a.sent, Total: f.Size(), Took: took}
	part := a.Header().Get("Content-Range")
	if a.Header().Get("Content-Length") != fmt.Sprint(a.sent) {
		// The client left or stalled, the file became shorter, or the server ends.
		o.Failed, o.Text = true, fmt.Sprintf("%s broke off after %d bytes", f.Name(), a.sent)
		if part != "" {
			o.Text += " of " + part
		}
		return o
	}
	o.Text = files.Sent(f.Name(), part, a.sent, took)
	return o
}

// client returns the address of who asks, the zero Addr on a unix socket.
func client(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// statusOf is the status of each refusal.
var statusOf = map[*files.Refusal]int{
	files.NoFile: http.StatusNotFound, files.NoName: http.StatusBadRequest,
	files.NotServed: http.StatusForbidden, files.Unreadable: http.StatusInternalServerError,
}

// refuse answers for an error of the tree, and returns the words.
func refuse(w http.ResponseWriter, err error) string {
	why := files.Explain(err)
	text(w, statusOf[why], why.Error())
	return why.Error()
}

// contentType knows text by its ending; all else is bytes, HTML too, so that
// no file of the tree becomes a page of this server.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".txt", ".ipxe", ".cfg", ".conf", ".yaml", ".manifest", ".minisig", ".sha256", ".md":
		return "text/plain; charset=utf-8"
	case ".json":
		return "application/json"
	}
	return "application/octet-stream"
}

// list shows a folder: links to a browser, else one name a line. Folders end
// in a slash.
func (s *Server) list(w http.ResponseWriter, r *http.Request, who files.Client) {
	if p := r.URL.Path; !strings.HasSuffix(p, "/") {
		// Relative, so that no name can point to another host.
		w.Header().Set("Location", "./"+(&url.URL{Path: path.Base(p)}).EscapedPath()+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	entries, err := s.Tree.ReadDir(r.Context(), who, r.URL.Path)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Vary", "Accept")
	page := strings.Contains(r.Header.Get("Accept"), "text/html")
	kind := "text/plain; charset=utf-8"
	if page {
		kind = "text/html; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	out := &answer{ResponseWriter: w, stall: s.Timing.Stall}
	if page {
		fmt.Fprintf(out, "<!doctype html><title>%[1]s</title><h1>%[1]s</h1><pre>\n", html.EscapeString(r.URL.Path))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		name, size := e.Name(), fmt.Sprint(info.Size())
		if e.IsDir() {
			name, size = name+"/", ""
		}
		if page {
			fmt.Fprintf(out, "%s %14s  <a href=\"./%s\">%s</a>\n", info.ModTime().UTC().Format(time.DateTime), size,
				html.EscapeString((&url.URL{Path: name}).EscapedPath()), html.EscapeString(name))
		} else {
			fmt.Fprintln(out, name)
		}
	}
}

// An answer sends in chunks, each of which the client must take in time, and
// counts what it took.
type answer struct {
	http.ResponseWriter
	stall  time.Duration
	status int
	sent   int64
}

func (a *answer) WriteHeader(status int) {
	a.status = cmp.Or(a.status, status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.extend()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// ReadFrom keeps sendfile: http.ServeContent hands over an io.LimitedReader,
// and so does this.
func (a *answer) ReadFrom(r io.Reader) (total int64, err error) {
	to, ok := a.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{a}, r)
	}
	left := int64(-1)
	lr, limited := r.(*io.LimitedReader)
	if limited {
		left, r = lr.N, lr.R
	}
	for left != 0 && err == nil {
		part := int64(chunk)
		if limited {
			part = min(part, left)
		}
		a.extend()
		var n int64
		n, err = to.ReadFrom(io.LimitReader(r, part))
		a.sent += n
		total += n
		if limited {
			left -= n
			lr.N = left
		}
		if n < part {
			break // the file ends here, or err says why
		}
	}
	return total, err
}

func (a *answer) extend() {
	http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(a.stall))
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
