package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Mode is a way to run a server. All but Alone have one server for all their
// rows.
type Mode int

const (
	Plain  Mode = iota // serves the tree
	Alone              // as Plain, and a server of the row's own where that can be had
	Single             // serves the tree, all from the port of requests
	Upload             // takes new files into a folder
)

// Modes are all of them, in the order of the rows.
var Modes = []Mode{Plain, Alone, Single, Upload}

var modeNames = [...]string{"plain", "alone", "single", "upload"}

func (m Mode) String() string { return modeNames[m] }

// MarshalText is the mode's name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a mode's name.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modeNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("the mode %q is not one of %s", text, strings.Join(modeNames[:], ", "))
	}
	*m = Mode(i)
	return nil
}

// A Row is one behaviour that a server is to have.
type Row struct {
	Name   string
	Source string // the RFC that says so, and its section where it has numbers; "—": firmware or strangers do
	Mode   Mode   // of the server that it asks
	All    bool   // every server must hold it, or the row itself is wrong

	check  func(p *probe)
	cables bool // it needs Target.Cables
}

// A Target is a server under test.
type Target struct {
	Server netip.AddrPort
	Dir    string  // the tree that it serves, or the folder that it takes files into
	Name   string  // of the server, for files that rows make in Dir
	Cables *Cables // nil: rows about addresses and links are not for it

	Glance  bool // its verdict is to compare with: waits are short, and it has one try
	Forks   bool // each request costs it a process or a thread: few are sent
	NoLimit bool // it takes any number of transfers, and would take the machine with it
}

// Cables are two links between a server and its clients, with the addresses
// below. They stand in two network namespaces.
type Cables struct {
	Zones    [2]string                           // of the clients' ends
	Enter    func(client netip.Addr, run func()) // runs a function where that address is
	DropICMP func() error                        // has closed ports of clients say nothing, as behind a firewall
}

// The addresses of both cables. Far is the server's end, Near the clients'. On
// the second cable the server has the first's link-local address again. It also
// has an address of the first's subnet there, without a route of its own.
var (
	Far4, far4b     = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.3")
	far6, far6b     = netip.MustParseAddr("fd09::1"), netip.MustParseAddr("fd09::3")
	far4second      = netip.MustParseAddr("10.9.0.11")
	farLink         = netip.MustParseAddr("fe80::1")
	Near4, near4b   = netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.4")
	near6, nearLink = netip.MustParseAddr("fd09::2"), netip.MustParseAddr("fe80::2")
	near4narrow     = netip.MustParseAddr("10.9.0.77") // the route to it carries packets of 1000 bytes
	near4second     = netip.MustParseAddr("10.9.0.12")
	local4          = netip.MustParseAddr("127.0.0.1") // the server's own host
)

// A Verdict is what a server did with a row.
type Verdict struct {
	Word   string // "yes", "no", or "–" where the row makes no sense for it
	Detail string
}

// Holds reports whether the server has the behaviour.
func (v Verdict) Holds() bool { return v.Word == "yes" }

// Run asks a server for the row's behaviour.
func (r *Row) Run(target *Target) (v Verdict) {
	p := &probe{Target: target}
	defer func() {
		for _, c := range p.closers {
			c()
		}
		switch r := recover().(type) {
		case nil:
			v = Verdict{"yes", strings.Join(p.notes, ", ")}
		case Verdict:
			v = r
		case tooLate:
			v = Verdict{"no", string(r)}
		default:
			panic(r)
		}
	}()
	if r.cables && target.Cables == nil {
		p.dash("needs two cables to the server")
	}
	r.check(p)
	return v
}

// A probe is one check of one server. A check returns where the behaviour
// holds, and ends by failf, latef or dash where it does not.
type probe struct {
	*Target
	bind    uint16   // port that the next client opens; 0 is any
	notes   []string // figures, for the verdict
	closers []func()
	buf     [1 << 16]byte // of the client that reads
	oob     [64]byte
}

// tooLate is why a check ended that a busy machine may have caused.
type tooLate string

func (p *probe) failf(format string, args ...any) { panic(Verdict{"no", fmt.Sprintf(format, args...)}) }

// latef ends a check that took too long, or met what comes with time or loss.
func (p *probe) latef(format string, args ...any) { panic(tooLate(fmt.Sprintf(format, args...))) }

// dash ends a check for a server that does not have what it is about.
func (p *probe) dash(why string) { panic(Verdict{"–", why}) }

func (p *probe) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// timed is for a check that measures time. A busy machine may be late, so one
// of several tries has to hold. A server that does wrong is wrong in each.
func timed(check func(*probe)) func(*probe) {
	return func(p *probe) {
		for n := 1; n < p.guards().tries; n++ {
			if inTime(p, check) {
				return
			}
			p.bind, p.notes = 0, nil
		}
		check(p)
	}
}

// inTime reports whether a check held. It passes on why another did not.
func inTime(p *probe, check func(*probe)) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, late := r.(tooLate); !late {
				panic(r)
			}
		}
	}()
	check(p)
	return true
}

// enter runs a function where a client's address is.
func (p *probe) enter(client netip.Addr, run func()) {
	if p.Cables == nil {
		run()
		return
	}
	p.Cables.Enter(client, run)
}

// openBetween opens a port at one of the cables' addresses for a server at another.
func (p *probe) openBetween(from, to netip.Addr, device string) *client {
	return p.open(from, netip.AddrPortFrom(to, p.Server.Port()), device)
}
