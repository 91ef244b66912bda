package access

import (
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
)

// A Right is something that a client may do.
type Right string

// The rights.
const (
	Read   Right = "read"   // the served tree
	Upload Right = "upload" // new files into the upload folder
	Order  Right = "order"  // what a person asks of a machine
)

// A Principal is who a client is to us, with its rights.
type Principal struct {
	Name   string // "" for anonymous
	rights []Right
}

// Can reports whether the principal has a right.
func (p Principal) Can(r Right) bool { return slices.Contains(p.rights, r) }

// Operator is who is at the unix socket: its file mode let them in.
var Operator = Principal{Name: "operator", rights: []Right{Read, Order}}

// ErrUnknown says that nobody has this name and password.
var ErrUnknown = errors.New("only anonymous is served here")

// Rules say who may what. Its fields are set before its use.
type Rules struct {
	Token   string // bearer token of the operator; "" lets nobody in by one
	Uploads bool   // anonymous clients may upload
}

// Anonymous is every client that did not say who it is.
func (r *Rules) Anonymous() Principal {
	p := Principal{rights: []Right{Read}}
	if r.Uploads {
		p.rights = append(p.rights, Upload)
	}
	return p
}

// Login is who has a name and a password. Everyone may read by the names that
// RFC 1635 and browsers use, with any password. The error is ErrUnknown.
func (r *Rules) Login(name, _ string) (Principal, error) {
	if n := strings.ToLower(name); n != "anonymous" && n != "ftp" {
		return Principal{}, ErrUnknown
	}
	return r.Anonymous(), nil
}

// Bearer is who has a token (RFC 6750). A wrong one is anonymous. The
// comparison takes the same time for every token of one length.
func (r *Rules) Bearer(token string) Principal {
	if r.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(r.Token)) == 1 {
		return Operator
	}
	return r.Anonymous()
}

// MayOrder reports whether the holder of a token may give orders.
func (r *Rules) MayOrder(token string) bool { return r.Bearer(token).Can(Order) }
