package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// Timing of leases.
type Timing struct {
	// Offer is how long an offered address is kept from others. Clients take
	// up an offer after they have collected others: EDK2 4 s, iPXE 2 s, PXE
	// 2.1 ROMs up to 11 s, our agent 3 s. After a lost REQUEST they ask once
	// more, as late as 16 s on (PXE 2.1 section 2.2: 4+8+16+32 s). 11+16 < 30.
	Offer time.Duration
	// Quarantine is how long a declined address is left alone. A person has
	// time to read of it, and a small pool is not lost for long.
	Quarantine time.Duration
	// Lease is given where a subnet names none.
	Lease time.Duration
}

// DefaultTiming is what New and New6 use.
var DefaultTiming = Timing{Offer: 30 * time.Second, Quarantine: 10 * time.Minute, Lease: time.Hour}

// maxOffers bounds the offers held at once, about 200 bytes each. Beyond it
// the oldest is forgotten. Its client may still have the address if nobody
// else took it.
const maxOffers = 4096

// grace is by which part of it a lease is kept for longer than its machine is
// told. Who asks again before that part has gone is told yes without a write to
// disk. The ROM, the loader, our agent and the system ask one after the other.
// And a stranger who never stops asking must not wear out an SD card.
const grace = 8

// maxDeclined bounds the addresses in quarantine by one machine's word. What
// declines one after another either lies or hears something that answers for
// every address, as proxy ARP does. It would leave none to the others.
const maxDeclined = 4

// Prefixes of the store's keys; the address follows.
const (
	prefix  = "lease/"
	prefix6 = "lease6/"
)

// Errors that the servers branch on.
var (
	ErrNoSubnet  = errors.New("no subnet is configured there")
	ErrExhausted = errors.New("pool exhausted")
	ErrWrong     = errors.New("not this client's address")
	// ErrLate is an answer that the store did not give in time for the
	// packet. The log was told. The client asks again.
	ErrLate = store.ErrLate
)

// A Client is who wants an IPv4 address.
type Client struct {
	MAC boot.MAC
	ID  []byte     // option 61 as it came, may be nil
	At  netip.Addr // an address of the link it is on: the relay's (giaddr) or our interface's. It is never given away
}

// A Lease is an address given to a machine, or offered.
type Lease struct {
	Addr    netip.Addr
	MAC     boot.MAC // zero where unknown, of IPv6
	ID      []byte   // option 61, or of IPv6 the DUID
	Name    string   // of the configured host, "" for others
	Subnet  Subnet
	Expires time.Time
}

// Leases hands out the IPv4 addresses of its subnets. Its methods may be called
// from several goroutines. The memory it takes is bounded by the pools.
type Leases struct {
	book    *book
	log     *slog.Logger
	timing  Timing
	subnets subnets
	hosts   []Host
	owner   map[netip.Addr]boot.MAC // of the hosts' addresses

	mu     sync.Mutex // one client after the other; guards offers
	offers *offers
}

// New reads the leases that the store holds, and follows them until ctx ends.
// Subnets and hosts are checked. The error names the one that is wrong.
func New(ctx context.Context, s store.Store, nets []Subnet, hosts []Host, log *slog.Logger) (*Leases, error) {
	l := &Leases{
		log: log, timing: DefaultTiming,
		subnets: withDefaults(nets), hosts: slices.Clone(hosts),
		owner: map[netip.Addr]boot.MAC{}, offers: newOffers(maxOffers),
	}
	if err := check(l.subnets, l.hosts); err != nil {
		return nil, err
	}
	for _, h := range l.hosts {
		l.owner[h.Addr] = h.MAC
	}
	var err error
	l.book, err = openBook(ctx, s, prefix, log)
	return l, err
}

// Offer picks an address for a client and keeps it from others for a while,
// in memory. Errors wrap ErrNoSubnet or ErrExhausted.
//
// In order it is the client's reserved address, the one it has, the one it was
// just offered, the one it wants if that is free, or one that follows from its
// MAC. So a machine tends to get the same again.
func (l *Leases) Offer(c Client, want netip.Addr) (Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	n, err := l.subnets.of(c.At)
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

// Bind gives a client the address it asks for, and keeps that in the store:
// at its first REQUEST, at a renewal and after a reboot alike. ErrWrong means
// that it may not have it (NAK). An address that was offered to another is
// given to whoever takes it first.
func (l *Leases) Bind(ctx context.Context, c Client, addr netip.Addr) (Lease, error) {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	n, err := l.subnets.of(c.At)
	if err != nil {
		return Lease{}, fmt.Errorf("lease %s to %s: %w", addr, c.MAC, err)
	}
	if err := l.mayHave(c, n, addr, now); err != nil {
		return Lease{}, fmt.Errorf("lease %s to %s: %w", addr, c.MAC, err)
	}
	told := now.Add(n.Lease)
	if item, ok := l.book.get(addr); ok && !item.Expires.Before(told) {
		l.offers.drop(addr)
		return l.lease(c, n, addr, told), nil
	}
	r := record{V: 1, MAC: c.MAC, ID: c.ID}
	if err := l.book.set(ctx, addr, r, told.Add(n.Lease/grace)); err != nil {
		return Lease{}, fmt.Errorf("lease %s to %s: %w", addr, c.MAC, err)
	}
	l.offers.drop(addr)
	// A machine that moved to an address reserved for it leaves its old one.
	for _, old := range l.book.of(macHolder(c.MAC), false) {
		if old != addr && n.Prefix.Contains(old) {
			if err := l.book.free(ctx, old, macHolder(c.MAC)); err != nil {
				l.log.Warn("old lease not freed", "addr", old, "mac", c.MAC, "err", err)
			}
		}
	}
	return l.lease(c, n, addr, told), nil
}

// Release ends a client's lease before its time. Another's is left alone:
// ErrWrong.
func (l *Leases) Release(ctx context.Context, c Client, addr netip.Addr) error {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.book.free(ctx, addr, macHolder(c.MAC)); err != nil {
		return fmt.Errorf("release %s by %s: %w", addr, c.MAC, err)
	}
	return nil
}

// Decline takes an address out of use for a while: its client found another
// machine there. Only who was given it, or offered it, is believed, and not
// without end; ErrWrong.
func (l *Leases) Decline(ctx context.Context, c Client, addr netip.Addr) error {
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	item, ok := l.book.get(addr)
	mine := ok && item.Value.of(macHolder(c.MAC))
	if offered, ok := l.offers.to(c.MAC, now); ok && offered == addr {
		mine = true
	}
	if !mine {
		return fmt.Errorf("decline %s by %s: %w", addr, c.MAC, ErrWrong)
	}
	if err := l.book.decline(ctx, addr, record{V: 1, MAC: c.MAC}, now.Add(l.timing.Quarantine)); err != nil {
		return fmt.Errorf("decline %s by %s: %w", addr, c.MAC, err)
	}
	l.offers.drop(addr)
	return nil
}

// Subnet returns the subnet of a link, of which at is any address.
func (l *Leases) Subnet(at netip.Addr) (Subnet, error) {
	n, err := l.subnets.of(at)
	if err != nil {
		return Subnet{}, err
	}
	return *n, nil
}

// List returns the leases that hold now, by address.
func (l *Leases) List() []Lease {
	return l.book.list(func(addr netip.Addr, r record, expires time.Time) (Lease, bool) {
		n, err := l.subnets.of(addr)
		if err != nil {
			return Lease{}, false
		}
		return l.lease(Client{MAC: r.MAC, ID: r.ID}, n, addr, expires), true
	})
}

// lease makes a Lease of what a client has.
func (l *Leases) lease(c Client, n *Subnet, addr netip.Addr, expires time.Time) Lease {
	lease := Lease{Addr: addr, MAC: c.MAC, ID: c.ID, Subnet: *n, Expires: expires}
	if h, ok := l.host(c.MAC, n); ok && h.Addr == addr {
		lease.Name = h.Name
	}
	return lease
}
