package registry

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// What the registry holds at most. A machine is some 500 bytes.
const (
	maxStrangers = 1024 // machines in memory only; the one not heard for longest goes
	maxStored    = 4096 // machines that something hangs on
	maxMACs      = 16   // of one machine: more mean that its UUID or serial is not its own
	maxShared    = 1024 // UUIDs and serials known to be of several machines
)

// Prefixes of keys in the store. Under prefix lies the JSON of a boot.Machine,
// by its ID. Under sharedPrefix lie the UUIDs that several machines have.
const (
	prefix       = "machine/"
	sharedPrefix = "shared-uuid/"
)

// ErrNotFound is wrapped where no machine has the ID or MAC.
var ErrNotFound = store.ErrNotFound

// A Registry is safe for use by several goroutines. Its rules of who is who are
// methods, since each reads and changes the same maps under one lock.
type Registry struct {
	machines *store.Mirror[boot.Machine]
	uuids    *store.Mirror[struct{}] // shared ones, by UUID
	damaged  []string                // IDs of machines that could not be read at start

	// mu guards what follows. The Mirrors are locked before it, never after.
	mu        sync.Mutex
	known     map[string]*known // by ID
	strangers *list.List        // of *known that are not stored, the latest heard last
	stored    int               // of the known ones
	index     index
	shared    map[string]bool    // aliases that several machines have, see uuidKey and serialKey
	marked    map[boot.UUID]bool // of them, UUIDs that are in the store
}

// A known is one machine as it is seen now: what the store has of it, and what
// was learned since.
type known struct {
	boot.Machine
	stored bool
	elem   *list.Element // in strangers, nil once it is stored
	dirty  bool          // learned an alias that the store has not yet
}

// New reads what the store holds. It then follows the store until ctx ends.
func New(ctx context.Context, s store.Store, log *slog.Logger) (*Registry, error) {
	r := &Registry{
		known:     map[string]*known{},
		strangers: list.New(),
		index:     newIndex(),
		shared:    map[string]bool{},
		marked:    map[boot.UUID]bool{},
	}
	var err error
	r.uuids, err = store.NewMirror(ctx, s, store.Kind[struct{}]{
		Prefix:  sharedPrefix,
		Check:   func(name string, _ struct{}) error { _, err := boot.ParseUUID(name); return err },
		Changed: r.uuidChanged,
	}, log)
	if err != nil {
		return nil, fmt.Errorf("load shared UUIDs: %w", err)
	}
	r.machines, err = store.NewMirror(ctx, s, store.Kind[boot.Machine]{
		Prefix:  prefix,
		Check:   checkMachine,
		Changed: r.machineChanged,
	}, log)
	if err != nil {
		return nil, fmt.Errorf("load machines: %w", err)
	}
	r.damaged = r.machines.Unreadable()
	return r, nil
}

func checkMachine(id string, m boot.Machine) error {
	if m.ID != id {
		return fmt.Errorf("it is of machine %.64q", m.ID)
	}
	return nil
}

// whole reports a machine that could not be read at start, until it can. To
// begin it anew could flash it once more.
func (r *Registry) whole() error {
	for _, id := range r.damaged {
		if _, err := r.machines.Get(id); errors.Is(err, store.ErrUnreadable) {
			return fmt.Errorf("load machines: %s is damaged", prefix+id)
		}
	}
	return nil
}

// Identify says which machine has these facts, and remembers them. Of the facts
// MAC, UUID, serial and board count. A machine that nobody heard before gets an
// ID. It stays in memory until Update.
func (r *Registry) Identify(ctx context.Context, f boot.Facts) (boot.Machine, error) {
	if err := r.whole(); err != nil {
		return boot.Machine{}, fmt.Errorf("identify %s: %w", f.MAC, err)
	}
	ctx, cancel := store.PacketContext(ctx)
	defer cancel()
	m, do := r.identify(f)
	for _, u := range do.uuids {
		// Losing this to a full disk costs no more than finding it out again.
		_, _ = r.uuids.Update(ctx, u.String(), mark)
	}
	if do.machine {
		// It is known who this is. What could not be stored is tried again the
		// next time, see known.dirty.
		_, _ = r.Update(ctx, m.ID, func(*boot.Machine) error { return nil })
	}
	return m, nil
}

var errMarked = errors.New("it is marked")

// mark makes the entry of a shared UUID, if it is not there.
func mark(old store.Item[struct{}], ok bool) (store.Item[struct{}], error) {
	if ok {
		return old, errMarked
	}
	return store.Item[struct{}]{}, nil
}

// todo is what identify leaves for the store, to be done without the lock.
type todo struct {
	machine bool
	uuids   []boot.UUID // found to be shared
}

func (r *Registry) identify(f boot.Facts) (boot.Machine, todo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var do todo
	k := r.match(&f, &do)
	if k == nil {
		k = r.addStranger()
	}
	if r.index.learn(k, f) {
		k.dirty = true
	}
	k.Seen = time.Now().Round(0)
	if k.elem != nil {
		r.strangers.MoveToBack(k.elem)
	}
	do.machine = k.stored && k.dirty
	return clone(k.Machine), do
}

// addStranger makes a machine of which nothing is known yet.
func (r *Registry) addStranger() *known {
	var id [8]byte
	rand.Read(id[:])
	k := &known{Machine: boot.Machine{ID: hex.EncodeToString(id[:])}}
	r.known[k.ID] = k
	k.elem = r.strangers.PushBack(k)
	if r.strangers.Len() > maxStrangers {
		r.drop(r.strangers.Front().Value.(*known))
	}
	return k
}

// drop forgets a machine that is only in memory.
func (r *Registry) drop(k *known) {
	r.strangers.Remove(k.elem)
	r.index.remove(k)
	delete(r.known, k.ID)
}

// Find returns the machine with an ID, or the one last heard with a MAC. The
// error wraps ErrNotFound where there is none.
func (r *Registry) Find(_ context.Context, s string) (boot.Machine, error) {
	if err := r.whole(); err != nil {
		return boot.Machine{}, fmt.Errorf("find machine: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[s]
	if mac, err := boot.ParseMAC(s); err == nil {
		k = latest(r.index.macs[mac])
	}
	if k == nil {
		return boot.Machine{}, fmt.Errorf("find machine %.64q: %w", s, ErrNotFound)
	}
	return clone(k.Machine), nil
}

// List returns all machines, the one heard last first.
func (r *Registry) List(_ context.Context) ([]boot.Machine, error) {
	if err := r.whole(); err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]boot.Machine, 0, len(r.known))
	for _, k := range r.known {
		all = append(all, clone(k.Machine))
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.ID, b.ID)) < 0
	})
	return all, nil
}

// Update lets f change a machine, and stores it. Where someone else changes the
// machine meanwhile, f is called again with what they made of it. So it may look
// at nothing but its argument. An error of f ends Update and is wrapped.
func (r *Registry) Update(ctx context.Context, id string, f func(*boot.Machine) error) (boot.Machine, error) {
	if err := r.whole(); err != nil {
		return boot.Machine{}, fmt.Errorf("update machine %.64s: %w", id, err)
	}
	var m boot.Machine
	_, err := r.machines.Update(ctx, id, func(old store.Item[boot.Machine], ok bool) (store.Item[boot.Machine], error) {
		var err error
		if m, err = r.current(id, old.Value, ok); err == nil {
			err = f(&m)
		}
		m.ID = id
		return store.Item[boot.Machine]{Value: m}, err
	})
	if err != nil {
		return boot.Machine{}, fmt.Errorf("update machine %.64s: %w", id, err)
	}
	return clone(m), nil
}

// current returns a machine as the store has it, with the aliases that were
// learned since.
func (r *Registry) current(id string, m boot.Machine, stored bool) (boot.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[id]
	switch {
	case !stored && k == nil:
		return m, ErrNotFound
	case !stored && r.stored >= maxStored:
		return m, fmt.Errorf("%d machines are remembered already", maxStored)
	case !stored:
		return clone(k.Machine), nil
	}
	m = clone(m)
	if k != nil {
		m.MACs = union(m.MACs, k.MACs)
		m.UUID, m.Serial, m.Board, m.Seen = ptr(k.UUID), k.Serial, k.Board, k.Seen
	}
	return m, nil
}
