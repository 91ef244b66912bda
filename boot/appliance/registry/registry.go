// Package registry knows machines: which of the MACs, UUIDs and serials that
// are heard belong to one, and what is remembered of it.
package registry

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// What the registry holds at most. A machine is some 500 bytes.
const (
	maxHeard  = 1024 // machines in memory only; the one not heard for longest goes
	maxStored = 4096 // machines that something hangs on
	maxMACs   = 16   // of one machine: more mean that its UUID or serial is not its own
	maxShared = 1024 // UUIDs and serials known to be of several machines
	maxTries  = 16   // of a compare-and-swap, each of which another writer won
)

// prefix is where machines lie in the store: prefix + ID, the JSON of a
// boot.Machine. Under sharedPrefix lie the UUIDs that several machines have.
const (
	prefix       = "machine/"
	sharedPrefix = "shared-uuid/"
)

// ErrNotFound is wrapped where no machine has the ID or MAC.
var ErrNotFound = store.ErrNotFound

// Traits are what is heard of a machine at one time. The zero value of each
// says nothing.
type Traits struct {
	MAC    boot.MAC // of the link it is heard on
	UUID   *boot.UUID
	Serial string
	Board  string
}

// A Registry is safe for use by several goroutines.
type Registry struct {
	store store.Store

	mu       sync.Mutex // guards what follows
	loaded   bool
	machines map[string]*known // by ID
	heard    *list.List        // of *known that are not stored, the latest heard last
	stored   int
	index    index
	shared   map[string]bool // aliases that several machines have, see uuidKey and serialKey
	marks    int             // of them, UUIDs that are in the store
}

// A known is one machine in memory.
type known struct {
	boot.Machine
	rev   uint64        // in the store, 0: only in memory
	elem  *list.Element // in heard, nil once it is stored
	dirty bool          // learned an alias that the store has not yet
}

// New returns a registry over s, which it reads at the first call.
func New(s store.Store) *Registry {
	return &Registry{
		store:    s,
		machines: map[string]*known{},
		heard:    list.New(),
		index:    newIndex(),
		shared:   map[string]bool{},
	}
}

// load reads the store once. Others read it as well, so nothing of it is
// trusted to be whole but the one value of a key.
func (r *Registry) load(ctx context.Context) error {
	if r.loaded {
		return nil
	}
	entries, err := r.store.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("load machines: %w", err)
	}
	uuids, err := r.store.List(ctx, sharedPrefix)
	if err != nil {
		return fmt.Errorf("load shared UUIDs: %w", err)
	}
	for _, e := range uuids {
		if u, err := boot.ParseUUID(strings.TrimPrefix(e.Key, sharedPrefix)); err == nil {
			r.share(uuidKey(u))
		}
	}
	r.marks = len(uuids)
	for _, e := range entries {
		var m boot.Machine
		if err := json.Unmarshal(e.Value, &m); err != nil || prefix+m.ID != e.Key {
			return fmt.Errorf("load machines: %s is damaged", e.Key)
		}
		if m.UUID != nil && r.shared[uuidKey(*m.UUID)] {
			m.UUID = nil
		}
		k := &known{Machine: m, rev: e.Rev}
		r.machines[m.ID] = k
		r.index.add(k)
		r.stored++
	}
	r.loaded = true
	return nil
}

// Identify says which machine has these traits, and remembers them. A machine
// that nobody heard before gets an ID. It stays in memory until Update.
func (r *Registry) Identify(ctx context.Context, t Traits) (boot.Machine, error) {
	m, store, err := r.identify(ctx, t)
	if err != nil {
		return boot.Machine{}, fmt.Errorf("identify %s: %w", t.MAC, err)
	}
	for _, u := range store.uuids {
		// Losing this to a full disk costs no more than finding it out again.
		_, _ = r.store.Swap(ctx, sharedPrefix+u.String(), 0, []byte("{}"), time.Time{})
	}
	if store.machine {
		// It is known who this is; what could not be stored is tried again the
		// next time, see known.dirty.
		_, _ = r.Update(ctx, m.ID, func(*boot.Machine) error { return nil })
	}
	return m, nil
}

// todo is what identify leaves for the store, to be done without the lock.
type todo struct {
	machine bool
	uuids   []boot.UUID // found to be shared
}

func (r *Registry) identify(ctx context.Context, t Traits) (boot.Machine, todo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return boot.Machine{}, todo{}, err
	}
	var do todo
	k := r.whose(&t, &do)
	if k == nil {
		k = r.meet()
	}
	if r.index.learn(k, t) {
		k.dirty = true
	}
	k.Seen = time.Now().Round(0)
	if k.elem != nil {
		r.heard.MoveToBack(k.elem)
	}
	do.machine = k.rev > 0 && k.dirty
	return clone(k.Machine), do, nil
}

// meet makes a machine of which nothing is known yet.
func (r *Registry) meet() *known {
	var id [8]byte
	rand.Read(id[:])
	k := &known{Machine: boot.Machine{ID: hex.EncodeToString(id[:])}}
	r.machines[k.ID] = k
	k.elem = r.heard.PushBack(k)
	if r.heard.Len() > maxHeard {
		r.drop(r.heard.Front().Value.(*known))
	}
	return k
}

// drop forgets a machine that is only in memory.
func (r *Registry) drop(k *known) {
	r.heard.Remove(k.elem)
	r.index.remove(k)
	delete(r.machines, k.ID)
}

// Find returns the machine with an ID, or the one last heard with a MAC. The
// error wraps ErrNotFound where there is none.
func (r *Registry) Find(ctx context.Context, s string) (boot.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return boot.Machine{}, fmt.Errorf("find machine: %w", err)
	}
	k := r.machines[s]
	if mac, err := boot.ParseMAC(s); err == nil {
		k = latest(r.index.macs[mac])
	}
	if k == nil {
		return boot.Machine{}, fmt.Errorf("find machine %.64q: %w", s, ErrNotFound)
	}
	return clone(k.Machine), nil
}

// List returns all machines, the one heard last first.
func (r *Registry) List(ctx context.Context) ([]boot.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	all := make([]boot.Machine, 0, len(r.machines))
	for _, k := range r.machines {
		all = append(all, clone(k.Machine))
	}
	slices.SortFunc(all, func(a, b boot.Machine) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Update lets f change a machine, and stores it. Where someone else changes the
// machine meanwhile, f is called again with what they made of it: it may look
// at nothing but its argument. An error of f ends Update and is wrapped.
func (r *Registry) Update(ctx context.Context, id string, f func(*boot.Machine) error) (boot.Machine, error) {
	for range maxTries {
		m, rev, err := r.current(ctx, id)
		if err == nil {
			err = f(&m)
		}
		if err != nil {
			return boot.Machine{}, fmt.Errorf("update machine %.64s: %w", id, err)
		}
		m.ID = id
		value, err := json.Marshal(m)
		if err != nil {
			return boot.Machine{}, fmt.Errorf("update machine %s: %w", id, err)
		}
		e, err := r.store.Swap(ctx, prefix+id, rev, value, time.Time{})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return boot.Machine{}, fmt.Errorf("update machine %s: %w", id, err)
		}
		r.keep(m, e.Rev)
		return clone(m), nil
	}
	return boot.Machine{}, fmt.Errorf("update machine %s: %d times: %w", id, maxTries, store.ErrConflict)
}

// current returns a machine as the store has it, with the aliases that were
// learned since, and the revision to swap for.
func (r *Registry) current(ctx context.Context, id string) (m boot.Machine, rev uint64, err error) {
	// The store is asked first, and for this one key: a request that names a
	// machine must not fail for another that is damaged.
	e, err := r.store.Get(ctx, prefix+id)
	isNew := errors.Is(err, store.ErrNotFound)
	switch {
	case err != nil && !isNew:
		return m, 0, err
	case !isNew:
		if err := json.Unmarshal(e.Value, &m); err != nil {
			return m, 0, fmt.Errorf("%s is damaged: %w", e.Key, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return m, 0, err
	}
	k := r.machines[id]
	switch {
	case isNew && k == nil:
		return m, 0, ErrNotFound
	case isNew && r.stored >= maxStored:
		return m, 0, fmt.Errorf("%d machines are remembered already", maxStored)
	case isNew:
		return clone(k.Machine), 0, nil
	}
	if k != nil {
		m.MACs = union(m.MACs, k.MACs)
		m.UUID, m.Serial, m.Board, m.Seen = k.UUID, k.Serial, k.Board, k.Seen
	}
	return clone(m), e.Rev, nil
}

// keep takes over what was stored.
func (r *Registry) keep(m boot.Machine, rev uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.machines[m.ID]
	if k == nil {
		k = &known{}
		r.machines[m.ID] = k
	} else if k.rev >= rev {
		return // a later change got here first
	}
	r.index.remove(k)
	if k.elem != nil {
		r.heard.Remove(k.elem)
		k.elem = nil
	}
	if k.rev == 0 {
		r.stored++
	}
	learned := k.MACs // since current
	k.rev, k.dirty = rev, false
	if k.Seen.After(m.Seen) {
		m.Seen = k.Seen
	}
	k.Machine = clone(m)
	for _, mac := range learned {
		if !slices.Contains(k.MACs, mac) {
			k.MACs, k.dirty = append(k.MACs, mac), true
		}
	}
	r.index.add(k)
}

// clone copies what a caller might change.
func clone(m boot.Machine) boot.Machine {
	m.MACs = slices.Clone(m.MACs)
	m.UUID, m.Flashed, m.Wanted = ptr(m.UUID), ptr(m.Flashed), ptr(m.Wanted)
	return m
}

func ptr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func union(a, b []boot.MAC) []boot.MAC {
	for _, m := range b {
		if !slices.Contains(a, m) {
			a = append(a, m)
		}
	}
	return a
}
