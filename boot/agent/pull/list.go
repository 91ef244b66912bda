package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/jlaffaye/ftp"
)

// maxListing bounds a listing in bytes.
const maxListing = 4 << 20

// An Entry is a file or folder in a listing.
type Entry struct {
	Name string // without a slash at its end
	Dir  bool
	Size int64     // bytes, -1 unknown
	Time time.Time // zero: unknown
}

// List returns what is in the folder that a URL means, by name.
// errors.ErrUnsupported is a protocol without listings.
func (p *Puller) List(ctx context.Context, folder string) ([]Entry, error) {
	u, err := fileURL(folder, "")
	if err != nil {
		return nil, err
	}
	proto, err := protocolOf(u)
	if err != nil {
		return nil, err
	}
	ctx, stall := watch(ctx, p.timing().Stall)
	defer stall.end()
	var entries []Entry
	err = guard(func() (err error) { entries, err = proto.list(ctx, p, u); return err })
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, err
}

func listTFTP(context.Context, *Puller, *url.URL) ([]Entry, error) {
	return nil, fmt.Errorf("TFTP has no request for a listing (RFC 1350); ask by ftp:// or http://: %w", errors.ErrUnsupported)
}

func listFTP(ctx context.Context, p *Puller, u *url.URL) ([]Entry, error) {
	c, err := p.dialFTP(ctx, u, maxListing)
	if err != nil {
		return nil, ftpError(err)
	}
	defer c.Quit()
	// Some servers list a folder that does not exist as an empty one.
	if dir := strings.TrimSuffix(ftpName(u), "/"); dir != "" {
		if err := c.ChangeDir(dir); err != nil {
			return nil, fmt.Errorf("CWD: %w", ftpError(err))
		}
	}
	list, err := c.List("")
	if err != nil {
		return nil, fmt.Errorf("LIST: %w", ftpError(err))
	}
	var entries []Entry
	for _, e := range list {
		if e.Name == "." || e.Name == ".." {
			continue
		}
		out := Entry{Name: e.Name, Dir: e.Type == ftp.EntryTypeFolder, Size: int64(e.Size), Time: e.Time}
		if e.Type != ftp.EntryTypeFile {
			out.Size = -1
		}
		entries = append(entries, out)
	}
	return entries, nil
}

func listHTTP(ctx context.Context, p *Puller, u *url.URL) ([]Entry, error) {
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := p.do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, statusError(res.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxListing+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxListing {
		return nil, fmt.Errorf("listing is larger than %d bytes", maxListing)
	}
	switch kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind {
	case "text/html":
		return parseLinks(string(raw)), nil
	case "text/plain":
		return parseLines(string(raw)), nil
	}
	return nil, errors.New("server's answer is no listing")
}

// parseLinks reads the index page of a web server. It takes the links that lead
// to something right below the page. What is no link is for people.
func parseLinks(page string) []Entry {
	var names []string
	for {
		i := strings.Index(page, "href=")
		if i < 0 {
			return entriesOf(names)
		}
		page = page[i+len("href="):]
		if page == "" {
			continue
		}
		end := strings.IndexAny(page, " >\t\r\n")
		if quote := page[0]; quote == '"' || quote == '\'' {
			page = page[1:]
			end = strings.IndexByte(page, quote)
		}
		if end < 0 {
			continue
		}
		u, err := url.Parse(unescapeHTML(page[:end]))
		page = page[end:]
		if err == nil && u.Scheme == "" && u.Host == "" && u.RawQuery == "" {
			names = append(names, strings.TrimPrefix(u.Path, "./"))
		}
	}
}

// unescapeHTML resolves the character references of an attribute. It knows the
// numeric ones, and the names of those characters that a server has to escape.
// Others stay as they are: servers percent-encode what a URL cannot hold. The
// standard library's function brings all 2231 names, which are 70 KB of the binary.
func unescapeHTML(s string) string {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(s, "&")
		b.WriteString(text)
		if !found {
			return b.String()
		}
		name, after, ended := strings.Cut(rest, ";")
		if r, ok := characterOf(name); ok && ended {
			b.WriteRune(r)
			s = after
		} else {
			b.WriteByte('&')
			s = rest
		}
	}
}

// characterOf returns the character that a reference such as amp, #38 or #x26
// stands for (HTML Living Standard, section 13.1.4).
func characterOf(name string) (r rune, ok bool) {
	switch name {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	digits, numeric := strings.CutPrefix(name, "#")
	base := 10
	if hex := strings.TrimLeft(digits, "xX"); len(hex) == len(digits)-1 {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 21)
	return rune(n), numeric && err == nil && n > 0
}

// parseLines reads a listing of one name a line, folders with a slash.
func parseLines(text string) []Entry {
	return entriesOf(strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n"))
}

// entriesOf makes entries of names, without what is not right below the folder and
// without repetitions.
func entriesOf(names []string) []Entry {
	var entries []Entry
	seen := map[string]bool{}
	for _, name := range names {
		name, dir := strings.CutSuffix(name, "/")
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") || seen[name] {
			continue
		}
		seen[name] = true
		entries = append(entries, Entry{Name: name, Dir: dir, Size: -1})
	}
	return entries
}
