package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRedirects of one request.
const maxRedirects = 5

// getHTTP asks for the bytes from held on (RFC 9110 section 14.2). A server
// that answers with the whole file has the held ones dropped.
func getHTTP(ctx context.Context, u *url.URL, s *stream) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if s.resumable() {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", s.held))
		if v := s.versions[s.source]; v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	res, err := s.puller.do(req)
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusPartialContent && !s.sameAnswer(res.Header) {
		// Not every server heeds If-Range.
		res.Body.Close()
		req.Header.Del("Range")
		req.Header.Del("If-Range")
		if res, err = s.puller.do(req); err != nil {
			return err
		}
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		s.sameAnswer(res.Header) // for the next attempt; now the bytes are compared
		err = s.wholeBody(res)
	case http.StatusPartialContent:
		err = s.partBody(res)
	case http.StatusRequestedRangeNotSatisfiable:
		// Nothing lies behind what is held: right if that is all there is.
		if _, _, size, perr := parseContentRange(res.Header.Get("Content-Range")); perr == nil && size == s.held {
			return s.announce(size)
		}
		return fmt.Errorf("no bytes from %d on: %w", s.held, ErrChanged)
	default:
		return statusError(res.StatusCode)
	}
	if err != nil {
		return err
	}
	return s.takeAll(res.Body)
}

// sameAnswer is same for the header of an answer.
func (s *stream) sameAnswer(h http.Header) bool {
	modified, _ := http.ParseTime(h.Get("Last-Modified"))
	return s.same(version(h), modified)
}

// wholeBody prepares for an answer that begins with the first byte.
func (s *stream) wholeBody(res *http.Response) error {
	if res.ContentLength < 0 && s.file.Size < 0 && !slices.Contains(res.TransferEncoding, "chunked") {
		return errors.New("server says neither the size of the file nor where it ends")
	}
	if err := s.announce(res.ContentLength); err != nil {
		return err
	}
	s.begin(0)
	return nil
}

// partBody prepares for an answer to a range request.
func (s *stream) partBody(res *http.Response) error {
	first, last, size, err := parseContentRange(res.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if err := s.announce(size); err != nil {
		return err
	}
	if s.file.Size >= 0 && last != s.file.Size-1 {
		return fmt.Errorf("server offers bytes up to %d of %d", last+1, s.file.Size)
	}
	if first != s.held {
		return fmt.Errorf("server begins at byte %d, asked for %d", first, s.held)
	}
	s.begin(first)
	return nil
}

// version is the validator of an answer, "" where it has no strong one. Only a
// strong one may go into If-Range (RFC 9110 section 13.1.5). A time of
// modification is strong when the answer is at least a second younger (section
// 8.8.2.2).
func version(h http.Header) string {
	if v := h.Get("ETag"); v != "" && !strings.HasPrefix(v, "W/") {
		return v
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	date, err2 := http.ParseTime(h.Get("Date"))
	if err != nil || err2 != nil || date.Sub(modified) < time.Second {
		return ""
	}
	return h.Get("Last-Modified")
}

// parseContentRange reads the header of that name (RFC 9110 section 14.4): bytes
// 5-9/10. Of bytes 5-9/* size is -1. Of bytes */10 first and last are -1.
func parseContentRange(v string) (first, last, size int64, err error) {
	bad := fmt.Errorf("server sent Content-Range %q", v)
	unit, rest, ok := strings.Cut(v, " ")
	span, total, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || !strings.EqualFold(unit, "bytes") {
		return 0, 0, 0, bad
	}
	if size = -1; total != "*" {
		if size, err = decimal(total); err != nil {
			return 0, 0, 0, bad
		}
	}
	if span == "*" {
		if size < 0 {
			return 0, 0, 0, bad
		}
		return -1, -1, size, nil
	}
	a, b, ok := strings.Cut(span, "-")
	first, err = decimal(a)
	last, err2 := decimal(b)
	if !ok || err != nil || err2 != nil || first > last || (size >= 0 && last >= size) {
		return 0, 0, 0, bad
	}
	return first, last, size, nil
}

// decimal reads digits only, where strconv would take a sign.
func decimal(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// do sends one request on a connection of its own.
func (p *Puller) do(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "bootlace")
	}
	t := &http.Transport{
		TLSClientConfig:        p.tls(""),
		DisableKeepAlives:      true,
		DisableCompression:     true, // the digest is that of the stored bytes
		MaxResponseHeaderBytes: 64 << 10,
		ExpectContinueTimeout:  time.Second, // for servers that do not know it
	}
	c := &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errors.New("redirect away from https")
		}
		return nil
	}}
	res, err := c.Do(req)
	if ue := new(url.Error); errors.As(err, &ue) {
		err = ue.Err // the URL may hold a password, and the log names the source
	}
	return res, err
}

// statusError is what a status other than success means.
func statusError(code int) error {
	text := fmt.Sprintf("server answers %d %s", code, http.StatusText(code))
	switch code {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%s: %w", text, fs.ErrNotExist)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return fmt.Errorf("%s: %w", text, fs.ErrPermission)
	}
	return errors.New(text)
}
