package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// A record is a lease in the store.
type record struct {
	V        int      `json:"v"`
	MAC      boot.MAC `json:"mac"`
	ID       []byte   `json:"id,omitempty"`       // of IPv4: option 61
	DUID     []byte   `json:"duid,omitempty"`     // of IPv6
	IAID     []byte   `json:"iaid,omitempty"`     // of IPv6
	Declined bool     `json:"declined,omitempty"` // in quarantine, by the word of its holder
}

// A holder is who a lease belongs to: a MAC, or an IAID and a DUID.
type holder string

func macHolder(mac boot.MAC) holder { return holder(mac[:]) }

func (r record) holder() holder {
	if len(r.DUID) > 0 {
		return holder(r.IAID) + holder(r.DUID)
	}
	return macHolder(r.MAC)
}

// of reports whether it is a holder's lease, and not in quarantine.
func (r record) of(h holder) bool { return !r.Declined && r.holder() == h }

// A book is the leases of one family.
type book struct {
	mirror *store.Mirror[record]

	// mu is the last lock that is taken: the Mirror is locked before it.
	mu     sync.Mutex
	taken  map[netip.Addr]holding
	byWhom map[holder][]netip.Addr // what each holder has, or declined
}

// A holding is what has to be known of a record to pass by its address. A pool
// may have 65536 of them, all taken, and strangers who ask without end.
type holding struct {
	holder   holder // "" of a record that cannot be read
	declined bool
	expires  time.Time
}

// openBook reads the leases, and follows them until ctx ends.
func openBook(ctx context.Context, s store.Store, prefix string, log *slog.Logger) (*book, error) {
	b := &book{taken: map[netip.Addr]holding{}, byWhom: map[holder][]netip.Addr{}}
	var err error
	b.mirror, err = store.NewMirror(ctx, s, store.Kind[record]{
		Prefix: prefix, Check: checkRecord, Changed: b.changed, Unreadable: b.unreadable,
	}, log)
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	return b, nil
}

func checkRecord(name string, r record) error {
	if _, err := netip.ParseAddr(name); err != nil {
		return err
	}
	if r.V != 1 {
		return fmt.Errorf("version %d is not known", r.V)
	}
	return nil
}

// changed keeps the index of addresses and holders.
func (b *book) changed(name string, now store.Item[record], ok bool) {
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(addr)
	if ok {
		h := now.Value.holder()
		b.taken[addr] = holding{h, now.Value.Declined, now.Expires}
		b.byWhom[h] = append(b.byWhom[h], addr)
	}
}

// unreadable keeps an address from everybody.
func (b *book) unreadable(name string, expires time.Time) {
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(addr)
	b.taken[addr] = holding{declined: true, expires: expires}
}

// forget takes an address out of the index. The caller holds b.mu.
func (b *book) forget(addr netip.Addr) {
	h := b.taken[addr].holder
	delete(b.taken, addr)
	list := slices.DeleteFunc(b.byWhom[h], func(a netip.Addr) bool { return a == addr })
	if b.byWhom[h] = list; len(list) == 0 {
		delete(b.byWhom, h)
	}
}

// open reports whether a holder could have an address: nobody has it, or he.
func (b *book) open(addr netip.Addr, h holder, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.taken[addr]
	return !ok || t.holder == h && !t.declined || !t.expires.IsZero() && !now.Before(t.expires)
}

// of returns the addresses that are leased to a holder, or, with declined set,
// those in quarantine by his word.
func (b *book) of(h holder, declined bool) (list []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, addr := range b.byWhom[h] {
		if t := b.taken[addr]; t.declined == declined && (t.expires.IsZero() || now.Before(t.expires)) {
			list = append(list, addr)
		}
	}
	return list
}

// get returns what holds for an address now, false where that is nothing. One
// whose record cannot be read counts as declined.
func (b *book) get(addr netip.Addr) (store.Item[record], bool) {
	item, err := b.mirror.Get(addr.String())
	if errors.Is(err, store.ErrUnreadable) {
		item.Value.Declined = true
		return item, true
	}
	return item, err == nil
}

// set leases an address until a time. ErrWrong: it is another's meanwhile, or
// in quarantine.
func (b *book) set(ctx context.Context, addr netip.Addr, r record, until time.Time) error {
	_, err := b.mirror.Update(ctx, addr.String(), func(old store.Item[record], ok bool) (store.Item[record], error) {
		if ok && !old.Value.of(r.holder()) {
			return old, fmt.Errorf("%w: another appliance gave it away", ErrWrong)
		}
		return store.Item[record]{Value: r, Expires: until}, nil
	})
	return err
}

// free ends a holder's lease. ErrWrong: it has none of that address.
func (b *book) free(ctx context.Context, addr netip.Addr, h holder) error {
	if item, ok := b.get(addr); !ok || !item.Value.of(h) {
		return ErrWrong // strangers may say so without end, and cost no call
	}
	err := b.mirror.Delete(ctx, addr.String(), func(old store.Item[record]) error {
		if !old.Value.of(h) {
			return ErrWrong
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrWrong
	}
	return err
}

// decline puts an address in quarantine, by a holder's word. It is believed
// for maxDeclined addresses at once.
func (b *book) decline(ctx context.Context, addr netip.Addr, r record, until time.Time) error {
	if n := len(b.of(r.holder(), true)); n >= maxDeclined {
		return fmt.Errorf("%w: it declined %d others", ErrWrong, n)
	}
	r.Declined = true
	return b.set(ctx, addr, r, until)
}

// list returns the leases that hold now, by address, as f makes them. It leaves
// out those for which f says false.
func (b *book) list(f func(addr netip.Addr, r record, expires time.Time) (Lease, bool)) (list []Lease) {
	for name, item := range b.mirror.All() {
		addr, err := netip.ParseAddr(name)
		if err != nil || item.Value.Declined {
			continue
		}
		if l, ok := f(addr, item.Value, item.Expires); ok {
			list = append(list, l)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Addr.Less(list[j].Addr) })
	return list
}
