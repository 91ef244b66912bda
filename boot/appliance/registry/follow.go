package registry

import (
	"slices"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// machineChanged takes over a machine as some appliance stored it, this one
// included. What was learned of it since is kept, to be stored the next time.
func (r *Registry) machineChanged(id string, now store.Item[boot.Machine], ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[id]
	if !ok {
		if k != nil && k.stored {
			r.index.remove(k)
			delete(r.known, id)
			r.stored--
		}
		return
	}
	if k == nil {
		k = &known{}
		r.known[id] = k
	}
	r.index.remove(k)
	if k.elem != nil {
		r.strangers.Remove(k.elem)
		k.elem = nil
	}
	if !k.stored {
		k.stored = true
		r.stored++
	}
	was, learned := k.Machine, k.dirty
	k.Machine, k.dirty = clone(now.Value), false
	if k.UUID != nil && r.shared[uuidKey(*k.UUID)] {
		k.UUID = nil
	}
	if r.shared[serialKey(k.Serial)] {
		k.Serial = ""
	}
	if was.Seen.After(k.Seen) {
		k.Seen = was.Seen
	}
	if learned {
		k.learned(was)
	}
	r.index.add(k)
}

// learned adds the aliases of a machine as it was known before.
func (k *known) learned(was boot.Machine) {
	for _, mac := range was.MACs {
		if !slices.Contains(k.MACs, mac) && len(k.MACs) < maxMACs {
			k.MACs, k.dirty = append(k.MACs, mac), true
		}
	}
	if k.UUID == nil && was.UUID != nil {
		k.UUID, k.dirty = was.UUID, true
	}
	if k.Serial == "" && was.Serial != "" {
		k.Serial, k.dirty = was.Serial, true
	}
	if was.Board != "" && k.Board != was.Board {
		k.Board, k.dirty = was.Board, true
	}
}

// uuidChanged takes over a UUID that some appliance found to be several machines'.
func (r *Registry) uuidChanged(name string, _ store.Item[struct{}], ok bool) {
	u, err := boot.ParseUUID(name)
	if err != nil || !ok { // nobody deletes one
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marked[u] = true
	r.share(uuidKey(u))
	if k := r.index.uuids[u]; k != nil {
		r.index.remove(k)
		k.UUID = nil
		r.index.add(k)
	}
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
