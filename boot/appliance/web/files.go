package web

import (
	"cmp"
	"errors"
	"fmt"
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

// serveFile answers requests for files and folders of the tree.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeText(w, http.StatusMethodNotAllowed, "files are for reading")
		return
	}
	from, begin := files.Client{Addr: clientAddr(r), Via: "http"}, time.Now()
	f, err := s.Tree.Open(r.Context(), from, r.URL.Path)
	if errors.Is(err, syscall.EISDIR) {
		s.serveFolder(w, r, from)
		return
	}
	name := strings.TrimLeft(r.URL.Path, "/")
	if err == nil && strings.HasSuffix(name, "/") {
		f.Close()
		err = fs.ErrNotExist
	}
	if err != nil {
		s.Tree.Done(from, files.Refused(name, writeRefusal(w, err)))
		return
	}
	defer f.Close()

	w.Header().Set("Content-Type", contentType(f.Name()))
	if mod := f.ModTime(); !mod.IsZero() {
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, mod.UnixNano(), f.Size()))
	} else {
		w.Header().Set("Cache-Control", "no-store") // made on the fly for this client
	}
	out := &chunkedResponse{ResponseWriter: w, stall: s.Timing.Stall}
	http.ServeContent(out, r, "", f.ModTime(), seekable(f))
	if hasBody(r, out) {
		s.Tree.Done(from, outcome(f, out, time.Since(begin)))
	}
}

// seekable returns the os.File where there is one, so that sendfile works.
func seekable(f *files.File) io.ReadSeeker {
	if f.OS() != nil {
		return f.OS()
	}
	return f
}

// hasBody reports whether a response carries bytes of a file.
func hasBody(r *http.Request, out *chunkedResponse) bool {
	return r.Method == http.MethodGet && (out.status == http.StatusOK || out.status == http.StatusPartialContent)
}

// outcome says how much of a file the client received.
func outcome(f *files.File, out *chunkedResponse, took time.Duration) files.Outcome {
	o := files.Outcome{File: f.Name(), Bytes: out.sent, Total: f.Size(), Took: took}
	part := out.Header().Get("Content-Range")
	if out.Header().Get("Content-Length") != fmt.Sprint(out.sent) {
		// The client left or stalled, the file became shorter, or the server
		// ended.
		o.Failed, o.Text = true, fmt.Sprintf("%s broke off after %d bytes", f.Name(), out.sent)
		if part != "" {
			o.Text += " of " + part
		}
		return o
	}
	o.Text = files.Sent(f.Name(), part, out.sent, took)
	return o
}

// clientAddr returns the client's address, the zero Addr on a unix socket.
func clientAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// statusOf has the HTTP status of each refusal.
var statusOf = map[*files.Refusal]int{
	files.NoFile: http.StatusNotFound, files.NoName: http.StatusBadRequest,
	files.NotServed: http.StatusForbidden, files.Unreadable: http.StatusInternalServerError,
}

// writeRefusal answers for an error of the tree, and returns its text.
func writeRefusal(w http.ResponseWriter, err error) string {
	why := files.Explain(err)
	writeText(w, statusOf[why], why.Error())
	return why.Error()
}

// contentType recognises text by its ending. All else is bytes, HTML too. So no
// file of the tree becomes a page of this server.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".txt", ".ipxe", ".cfg", ".conf", ".yaml", ".manifest", ".minisig", ".sha256", ".md":
		return "text/plain; charset=utf-8"
	case ".json":
		return "application/json"
	}
	return "application/octet-stream"
}

// serveFolder answers with a folder's content: HTML links for a browser, else
// one name a line. Folders end in a slash.
func (s *Server) serveFolder(w http.ResponseWriter, r *http.Request, from files.Client) {
	if p := r.URL.Path; !strings.HasSuffix(p, "/") {
		// The URL is relative, so that no name can point to another host.
		w.Header().Set("Location", "./"+(&url.URL{Path: path.Base(p)}).EscapedPath()+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	entries, err := s.Tree.ReadDir(r.Context(), from, r.URL.Path)
	if err != nil {
		writeRefusal(w, err)
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
	out := &chunkedResponse{ResponseWriter: w, stall: s.Timing.Stall}
	if page {
		fmt.Fprintf(out, "<!doctype html><title>%[1]s</title><h1>%[1]s</h1><pre>\n", escapeHTML.Replace(r.URL.Path))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		name, size := e.Name(), fmt.Sprint(info.Size())
		if e.IsDir() {
			name, size = name+"/", ""
		}
		if page {
			fmt.Fprintf(out, "%s %14s  <a href=\"./%s\">%s</a>\n", info.ModTime().UTC().Format(time.DateTime), size,
				escapeHTML.Replace((&url.URL{Path: name}).EscapedPath()), escapeHTML.Replace(name))
		} else {
			fmt.Fprintln(out, name)
		}
	}
}

// escapeHTML writes text as HTML, in an attribute too. The standard library's
// function brings the names of 2231 characters, which are 70 KB of the binary.
var escapeHTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// A chunkedResponse writes a response in chunks. The client must take each
// within Timing.Stall. It counts the bytes that were sent.
type chunkedResponse struct {
	http.ResponseWriter
	stall  time.Duration
	status int
	sent   int64
}

func (a *chunkedResponse) WriteHeader(status int) {
	a.status = cmp.Or(a.status, status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *chunkedResponse) Write(p []byte) (int, error) {
	a.extendDeadline()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// ReadFrom keeps sendfile possible. http.ServeContent passes an
// io.LimitedReader, and ReadFrom passes one on.
func (a *chunkedResponse) ReadFrom(r io.Reader) (total int64, err error) {
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
		a.extendDeadline()
		var n int64
		n, err = to.ReadFrom(io.LimitReader(r, part))
		a.sent += n
		total += n
		if limited {
			left -= n
			lr.N = left
		}
		if n < part {
			break // end of the file, or err is set
		}
	}
	return total, err
}

func (a *chunkedResponse) extendDeadline() {
	http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(a.stall))
}

// Unwrap lets http.ResponseController find the connection.
func (a *chunkedResponse) Unwrap() http.ResponseWriter { return a.ResponseWriter }
