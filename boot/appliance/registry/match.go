package registry

import (
	"slices"

	"github.com/bootlace/bootlace/boot"
)

// An index finds machines by what they are heard with. A MAC may be that of
// several: adapters and docks wander, and U-Boot under QEMU has one for all.
type index struct {
	macs    map[boot.MAC][]*known
	uuids   map[boot.UUID]*known
	serials map[string]*known
}

func newIndex() index {
	return index{map[boot.MAC][]*known{}, map[boot.UUID]*known{}, map[string]*known{}}
}

func (x index) add(k *known) {
	for _, mac := range k.MACs {
		if !slices.Contains(x.macs[mac], k) {
			x.macs[mac] = append(x.macs[mac], k)
		}
	}
	if k.UUID != nil {
		x.uuids[*k.UUID] = k
	}
	if k.Serial != "" {
		x.serials[k.Serial] = k
	}
}

func (x index) remove(k *known) {
	for _, mac := range k.MACs {
		rest := slices.DeleteFunc(x.macs[mac], func(o *known) bool { return o == k })
		if x.macs[mac] = rest; len(rest) == 0 {
			delete(x.macs, mac)
		}
	}
	if k.UUID != nil && x.uuids[*k.UUID] == k {
		delete(x.uuids, *k.UUID)
	}
	if x.serials[k.Serial] == k {
		delete(x.serials, k.Serial)
	}
}

// learn adds facts to a machine and reports whether one was new. A machine
// keeps the UUID and serial that it has.
func (x index) learn(k *known, f boot.Facts) (changed bool) {
	if f.MAC != (boot.MAC{}) && !slices.Contains(k.MACs, f.MAC) && len(k.MACs) < maxMACs {
		k.MACs, changed = append(k.MACs, f.MAC), true
	}
	if k.UUID == nil && f.UUID != nil {
		k.UUID, changed = ptr(f.UUID), true
	}
	if k.Serial == "" && f.Serial != "" {
		k.Serial, changed = f.Serial, true
	}
	if f.Board != "" && k.Board != f.Board {
		k.Board, changed = f.Board, true
	}
	if changed {
		x.add(k)
	}
	return changed
}

// match returns the machine that has the facts, or nil. What a machine is
// heard with counts in this order: UUID, serial, MAC. Facts that turn out not
// to be one machine's own are taken out of f.
func (r *Registry) match(f *boot.Facts, do *todo) *known {
	if f.UUID != nil && (!f.UUID.Known() || r.shared[uuidKey(*f.UUID)]) {
		f.UUID = nil
	}
	if r.shared[serialKey(f.Serial)] {
		f.Serial = ""
	}
	var byUUID, bySerial *known
	if f.UUID != nil {
		byUUID = r.index.uuids[*f.UUID]
	}
	if f.Serial != "" {
		bySerial = r.index.serials[f.Serial]
	}
	switch {
	case byUUID != nil && (otherSerial(byUUID, f.Serial) || tooMany(byUUID, f.MAC)):
		// Some vendors ship one UUID on every board.
		do.uuids = r.shareUUID(byUUID, do.uuids)
		return r.match(f, do)
	case bySerial != nil && bySerial != byUUID && (otherUUID(bySerial, f.UUID) || tooMany(bySerial, f.MAC)):
		r.shareSerial(bySerial)
		return r.match(f, do)
	}
	k := byUUID
	if k == nil {
		k = bySerial
	} else if bySerial != nil {
		k = r.fold(k, bySerial)
	}
	if k != nil {
		// The same link may have been heard before, by a loader that sends no UUID.
		for _, m := range slices.Clone(r.index.macs[f.MAC]) {
			if m.UUID == nil && m.Serial == "" {
				k = r.fold(k, m)
			}
		}
		return k
	}
	return latest(slices.DeleteFunc(slices.Clone(r.index.macs[f.MAC]), func(m *known) bool {
		return otherUUID(m, f.UUID) || otherSerial(m, f.Serial)
	}))
}

func otherSerial(k *known, serial string) bool {
	return serial != "" && k.Serial != "" && k.Serial != serial
}

func otherUUID(k *known, uuid *boot.UUID) bool {
	return uuid != nil && k.UUID != nil && *k.UUID != *uuid
}

func tooMany(k *known, mac boot.MAC) bool {
	return len(k.MACs) >= maxMACs && mac != (boot.MAC{}) && !slices.Contains(k.MACs, mac)
}

// fold makes one of two records that turn out to be of one machine, and
// returns it. A record that something hangs on is never dropped.
func (r *Registry) fold(a, b *known) *known {
	switch {
	case a == b || a.stored && b.stored:
		return a
	case b.stored:
		a, b = b, a
	}
	r.drop(b)
	for _, mac := range b.MACs {
		r.index.learn(a, boot.Facts{MAC: mac})
	}
	also := boot.Facts{UUID: b.UUID, Serial: b.Serial}
	if a.Board == "" {
		also.Board = b.Board
	}
	r.index.learn(a, also)
	a.dirty = true
	return a
}

// latest returns the machine that was heard last, or nil.
func latest(machines []*known) (k *known) {
	for _, m := range machines {
		if k == nil || !m.Seen.Before(k.Seen) {
			k = m
		}
	}
	return k
}

// shareUUID stops taking a machine's UUID for its own. It is remembered where
// the machine is.
func (r *Registry) shareUUID(k *known, found []boot.UUID) []boot.UUID {
	u := *k.UUID
	r.share(uuidKey(u))
	r.index.remove(k)
	k.UUID = nil
	r.index.add(k)
	if k.stored {
		k.dirty = true
		if len(r.marked) < maxShared { // beyond it has to be found out again after a restart
			r.marked[u] = true
			found = append(found, u)
		}
	}
	return found
}

func (r *Registry) shareSerial(k *known) {
	r.share(serialKey(k.Serial))
	r.index.remove(k)
	k.Serial, k.dirty = "", true
	r.index.add(k)
}

// share marks an alias as not one machine's own. Past the bound some other is
// forgotten, which has to be found out again.
func (r *Registry) share(key string) {
	for old := range r.shared {
		if len(r.shared) < maxShared {
			break
		}
		delete(r.shared, old)
	}
	r.shared[key] = true
}

func uuidKey(u boot.UUID) string { return "uuid " + u.String() }
func serialKey(s string) string  { return "serial " + s }
