// Package lease hands out IPv4 addresses: who has which, and until when.
//
// A lease is kept in the store under its address, so that no two machines can
// have one, and belongs to a MAC (chaddr). RFC 2131 section 4.2 would have it
// belong to the client identifier, option 61; but the PXE ROM, iPXE, our agent
// and the system that is flashed send four different ones, or none, in the
// course of one boot, and would take four addresses where the machine needs
// one. The identifier that came last is kept beside it for people to see.
//
// An offer costs memory only, and little of it: strangers who only ask write
// nothing to disk and cannot use up a pool. Addresses are not probed (ARP or
// ping) before they are offered, which RFC 2131 section 3.1 asks of servers as
// a SHOULD: it would cost every boot a second. A client that finds its address
// in use says DECLINE, and the address is left alone for a while.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// Timing of leases.
type Timing struct {
	// Offer is how long an offered address is kept from others. Clients take
	// up an offer after they have collected others: EDK2 4 s, iPXE 2 s, PXE
	// 2.1 ROMs up to 11 s, our agent 3 s; after a lost REQUEST once more as
	// late as 16 s on (PXE 2.1 section 2.2: 4+8+16+32 s). 11+16 < 30.
	Offer time.Duration
	// Quarantine is how long a declined address is left alone: long enough
	// for a person to read of it, short enough not to lose a small pool.
	Quarantine time.Duration
	// Lease is given where a subnet names none.
	Lease time.Duration
}

// DefaultTiming is what New uses.
var DefaultTiming = Timing{Offer: 30 * time.Second, Quarantine: 10 * time.Minute, Lease: time.Hour}

// maxOffers bounds the offers held at once, about 200 bytes each. Beyond it
// the oldest is forgotten; its client may still have the address if nobody
// else took it.
const maxOffers = 4096

// grace is by which part of it a lease is kept for longer than its machine is
// told. Who asks again before that part has gone is told yes without a write to
// disk: the ROM, the loader, our agent and the system ask one after the other,
// and a stranger who never stops asking must not wear out an SD card.
const grace = 8

// maxDeclined bounds the addresses in quarantine by one machine's word. What
// declines one after another either lies or hears something that answers for
// every address, as proxy ARP does, and would leave none to the others.
const maxDeclined = 4

// prefix of the store's keys; the address follows.
const prefix = "lease/"

// Errors that the DHCP server branches on.
var (
	ErrNoSubnet  = errors.New("no subnet is configured there")
	ErrExhausted = errors.New("pool exhausted")
	ErrWrong     = errors.New("not this client's address")
)

// A Client is who wants an address.
type Client struct {
	MAC boot.MAC
	ID  []byte     // option 61 as it came, may be nil
	At  netip.Addr // an address of the link it is on: the relay's (giaddr) or our interface's. It is never given away
}

// A Lease is an address given to a machine, or offered.
type Lease struct {
	Addr    netip.Addr
	MAC     boot.MAC
	ID      []byte
	Name    string // of the configured host, "" for others
	Subnet  Subnet
	Expires time.Time
}

// record is a lease in the store.
type record struct {
	V        int      `json:"v"`
	MAC      boot.MAC `json:"mac"`
	ID       []byte   `json:"id,omitempty"`
	Declined bool     `json:"declined,omitempty"` // in quarantine, MAC is who declined it
}

// held is a record in memory, with the revision to swap it by.
type held struct {
	record
	rev     uint64
	expires time.Time
}

// Leases hands out the addresses of its subnets. Its methods may be called
// from several goroutines; the memory it takes is bounded by the pools.
type Leases struct {
	store   store.Store
	log     *slog.Logger
	timing  Timing
	subnets []Subnet
	hosts   []Host
	owner   map[netip.Addr]boot.MAC // of the hosts' addresses

	mu     sync.Mutex
	held   map[netip.Addr]held
	of     map[boot.MAC][]netip.Addr // what each MAC holds, one address a subnet
	offers *offers
}

// New reads the leases that the store holds. Subnets and hosts are checked;
// the error names the one that is wrong.
func New(ctx context.Context, s store.Store, subnets []Subnet, hosts []Host, log *slog.Logger) (*Leases, error) {
	return newLeases(ctx, s, subnets, hosts, log, DefaultTiming)
}

func newLeases(ctx context.Context, s store.Store, subnets []Subnet, hosts []Host, log *slog.Logger, timing Timing) (*Leases, error) {
	l := &Leases{
		store: s, log: log, timing: timing,
		subnets: slices.Clone(subnets), hosts: slices.Clone(hosts),
		held: map[netip.Addr]held{}, of: map[boot.MAC][]netip.Addr{},
		owner: map[netip.Addr]boot.MAC{}, offers: newOffers(maxOffers),
	}
	for i := range l.subnets {
		if l.subnets[i].Lease == 0 {
			l.subnets[i].Lease = timing.Lease
		}
	}
	if err := check(l.subnets, l.hosts); err != nil {
		return nil, err
	}
	for _, h := range l.hosts {
		l.owner[h.Addr] = h.MAC
	}
	list, err := s.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	for _, e := range list {
		addr, h, err := parse(e)
		if err != nil {
			log.Warn("lease left out", "key", e.Key, "err", err)
			continue
		}
		l.remember(addr, h)
	}
	return l, nil
}

func parse(e store.Entry) (netip.Addr, held, error) {
	h := held{rev: e.Rev, expires: e.Expires}
	addr, err := netip.ParseAddr(strings.TrimPrefix(e.Key, prefix))
	if err != nil {
		return addr, h, err
	}
	if err := json.Unmarshal(e.Value, &h.record); err != nil {
		return addr, h, err
	}
	if h.V != 1 {
		return addr, h, fmt.Errorf("version %d is not known", h.V)
	}
	return addr, h, nil
}

// Offer picks an address for a client and keeps it from others for a while,
// in memory. In order: its reserved address, the one it has, the one it was
// just offered, the one it wants if that is free, one that follows from its
// MAC, so that a machine tends to get the same again.
// Errors wrap ErrNoSubnet or ErrExhausted.
func (l *Leases) Offer(c Client, want netip.Addr) (Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	n, err := l.subnet(c.At)
	if err != nil {
		return Lease{}, fmt.Errorf("offer %s an address: %w", c.MAC, err)
	}
	addr, err := l.pick(c, n, want, now)
	if err != nil {
		return Lease{}, fmt.Errorf("offer %s an address: %w", c.MAC, err)
	}
	l.offers.put(addr, c.MAC, now.Add(l.timing.Offer))
	return l.lease(c, n, addr, now.Add(n.Lease)), nil
}

func (l *Leases) pick(c Client, n *Subnet, want netip.Addr, now time.Time) (netip.Addr, error) {
	if h, ok := l.host(c.MAC, n); ok {
		switch q, ok := l.lookup(h.Addr, now); {
		case ok && q.Declined:
			return netip.Addr{}, fmt.Errorf("%w: its reserved address %s is in use on that link, as %s found", ErrExhausted, h.Addr, q.MAC)
		case ok && q.MAC != c.MAC:
			return netip.Addr{}, fmt.Errorf("%w: its reserved address %s is leased to %s until %s", ErrExhausted, h.Addr, q.MAC, q.expires.Format(time.RFC3339))
		}
		return h.Addr, nil
	}
	if addr, ok := l.has(c.MAC, n, now); ok {
		return addr, nil
	}
	if addr, ok := l.offers.of(c.MAC, now); ok && l.free(c, n, addr, now) {
		return addr, nil
	}
	if n.pooled(want) && l.free(c, n, want, now) && !l.offers.has(want, now) {
		return want, nil
	}
	// Where every free address is on offer the oldest offer gives way: whoever
	// asks without taking cannot lock others out.
	var oldest netip.Addr
	var until time.Time
	addr := n.at(start(c.MAC, n))
	for range n.size() {
		if l.free(c, n, addr, now) {
			end, offered := l.offers.until(addr, now)
			if !offered {
				return addr, nil
			}
			if !oldest.IsValid() || end.Before(until) {
				oldest, until = addr, end
			}
		}
		if addr = addr.Next(); !n.pooled(addr) {
			addr = n.PoolFrom
		}
	}
	if oldest.IsValid() {
		return oldest, nil
	}
	if n.size() == 0 {
		return netip.Addr{}, fmt.Errorf("%w: subnet %s has no pool, and no host is configured with this MAC", ErrExhausted, n.Prefix)
	}
	return netip.Addr{}, fmt.Errorf("%w: every address of %s-%s is taken", ErrExhausted, n.PoolFrom, n.PoolTo)
}

// start spreads MACs over a pool.
func start(mac boot.MAC, n *Subnet) int {
	if n.size() == 0 {
		return 0
	}
	h := fnv.New32a()
	h.Write(mac[:])
	return int(h.Sum32() % uint32(n.size()))
}

// Bind gives a client the address it asks for, and keeps that in the store:
// at its first REQUEST, at a renewal and after a reboot alike. ErrWrong means
// that it may not have it (NAK). An address that was offered to another is
// given to whoever takes it first.
func (l *Leases) Bind(ctx context.Context, c Client, addr netip.Addr) (Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	n, err := l.subnet(c.At)
	if err != nil {
		return Lease{}, fmt.Errorf("lease %s to %s: %w", addr, c.MAC, err)
	}
	if err := l.mayHave(c, n, addr, now); err != nil {
		return Lease{}, fmt.Errorf("lease %s to %s: %w", addr, c.MAC, err)
	}
	told := now.Add(n.Lease)
	if h, ok := l.lookup(addr, now); ok && !h.expires.Before(told) {
		l.offers.drop(addr)
		return l.lease(c, n, addr, told), nil
	}
	r := record{V: 1, MAC: c.MAC, ID: c.ID}
	if err := l.put(ctx, addr, r, told.Add(n.Lease/grace)); err != nil {
		return Lease{}, fmt.Errorf("lease %s to %s: %w", addr, c.MAC, err)
	}
	l.offers.drop(addr)
	// A machine that moved to an address reserved for it leaves its old one.
	for _, old := range slices.Clone(l.of[c.MAC]) {
		if old != addr && n.Prefix.Contains(old) {
			if err := l.put(ctx, old, record{}, time.Time{}); err != nil {
				l.log.Warn("old lease not freed", "addr", old, "mac", c.MAC, "err", err)
			}
		}
	}
	return l.lease(c, n, addr, told), nil
}

// mayHave holds whether a client may be given an address it asks for.
func (l *Leases) mayHave(c Client, n *Subnet, addr netip.Addr, now time.Time) error {
	if h, ok := l.host(c.MAC, n); ok {
		if h.Addr != addr {
			return fmt.Errorf("%w: %s is reserved for it", ErrWrong, h.Addr)
		}
		if q, ok := l.lookup(addr, now); ok && (q.Declined || q.MAC != c.MAC) {
			return fmt.Errorf("%w: it is taken", ErrWrong)
		}
		return nil
	}
	if own, ok := l.has(c.MAC, n, now); ok && own != addr {
		return fmt.Errorf("%w: it has %s", ErrWrong, own)
	}
	switch {
	case !n.Prefix.Contains(addr):
		return fmt.Errorf("%w: not in subnet %s", ErrWrong, n.Prefix)
	case !n.pooled(addr):
		return fmt.Errorf("%w: not in the pool", ErrWrong)
	case !l.free(c, n, addr, now):
		return fmt.Errorf("%w: it is taken", ErrWrong)
	}
	return nil
}

// Release ends a client's lease before its time. Another's is left alone:
// ErrWrong.
func (l *Leases) Release(ctx context.Context, c Client, addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.lookup(addr, time.Now())
	if !ok || h.MAC != c.MAC || h.Declined {
		return fmt.Errorf("release %s by %s: %w", addr, c.MAC, ErrWrong)
	}
	if err := l.put(ctx, addr, record{}, time.Time{}); err != nil {
		return fmt.Errorf("release %s by %s: %w", addr, c.MAC, err)
	}
	return nil
}

// Decline takes an address out of use for a while: its client found another
// machine there. Only who was given it, or offered it, is believed, and not
// without end; ErrWrong.
func (l *Leases) Decline(ctx context.Context, c Client, addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	h, ok := l.lookup(addr, now)
	mine := ok && !h.Declined && h.MAC == c.MAC
	if offered, ok := l.offers.of(c.MAC, now); ok && offered == addr {
		mine = true
	}
	if !mine {
		return fmt.Errorf("decline %s by %s: %w", addr, c.MAC, ErrWrong)
	}
	if n := l.declined(c.MAC, now); n >= maxDeclined {
		return fmt.Errorf("decline %s by %s: %w: it declined %d others", addr, c.MAC, ErrWrong, n)
	}
	r := record{V: 1, MAC: c.MAC, Declined: true}
	if err := l.put(ctx, addr, r, now.Add(l.timing.Quarantine)); err != nil {
		return fmt.Errorf("decline %s by %s: %w", addr, c.MAC, err)
	}
	l.offers.drop(addr)
	return nil
}

// Subnet returns the subnet of a link, of which at is any address.
func (l *Leases) Subnet(at netip.Addr) (Subnet, error) {
	n, err := l.subnet(at)
	if err != nil {
		return Subnet{}, err
	}
	return *n, nil
}

// List returns the leases that hold now, by address.
func (l *Leases) List() []Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var list []Lease
	for addr, h := range l.held {
		if n, err := l.subnet(addr); err == nil && !h.Declined && now.Before(h.expires) {
			list = append(list, l.lease(Client{MAC: h.MAC, ID: h.ID}, n, addr, h.expires))
		}
	}
	slices.SortFunc(list, func(a, b Lease) int { return a.Addr.Compare(b.Addr) })
	return list
}
