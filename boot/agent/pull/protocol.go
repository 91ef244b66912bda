package pull

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// A protocol is what one URL scheme can do.
type protocol struct {
	scheme string
	get    getter
	list   lister
}

// protocols has a row for each scheme, sorted.
var protocols = []protocol{
	{"ftp", getFTP, listFTP},
	{"ftps", getFTP, listFTP},
	{"http", getHTTP, listHTTP},
	{"https", getHTTP, listHTTP},
	{"tftp", getTFTP, listTFTP},
}

// A getter asks the server of u for the file, from s.held on where the protocol
// can. It says what it learns through announce and begin, and writes the bytes
// to s.
//
// It returns nil when the server said that the file has ended. It returns
// fs.ErrNotExist when the server said there is none. It is done with s when it
// returns, which is soon after ctx ends.
type getter func(ctx context.Context, u *url.URL, s *stream) error

// A lister reads the listing of a folder.
type lister func(ctx context.Context, p *Puller, u *url.URL) ([]Entry, error)

// Schemes lists the URL schemes there are, sorted.
func Schemes() []string {
	var list []string
	for _, p := range protocols {
		list = append(list, p.scheme)
	}
	return list
}

// protocolOf returns the row of a URL's scheme.
func protocolOf(u *url.URL) (protocol, error) {
	i := slices.IndexFunc(protocols, func(p protocol) bool { return p.scheme == u.Scheme })
	if i < 0 {
		return protocol{}, noProtocol(u)
	}
	return protocols[i], nil
}

func noProtocol(u *url.URL) error {
	return fmt.Errorf("protocol %q: %w", u.Scheme, errors.ErrUnsupported)
}
