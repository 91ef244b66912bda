package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

var (
	nicA  = boot.MAC{0x52, 0x54, 0, 0, 0, 0xa}
	nicB  = boot.MAC{0x52, 0x54, 0, 0, 0, 0xb}
	dock  = boot.MAC{0x52, 0x54, 0, 0, 0, 0xd}
	uboot = boot.MAC{0x52, 0x52, 0x52, 0x52, 0x52, 0x52} // of every U-Boot under QEMU
	uuid1 = &boot.UUID{1}
	uuid2 = &boot.UUID{2}
)

// A fixture is a registry over a store, which can be opened again.
type fixture struct {
	*Registry
	t *testing.T
	s store.Store
}

func open(t *testing.T) *fixture {
	f := &fixture{t: t, s: store.NewMemory()}
	f.reopen()
	t.Cleanup(func() { f.s.Close() })
	return f
}

// reopen is a restart of the appliance: all that was only in memory is gone.
func (f *fixture) reopen() {
	f.t.Helper()
	f.Registry = other(f.t, f.s)
}

// other is another appliance over the same store.
func other(t *testing.T, s store.Store) *Registry {
	t.Helper()
	r, err := New(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) id(facts boot.Facts) string {
	f.t.Helper()
	m, err := f.Identify(f.t.Context(), facts)
	if err != nil {
		f.t.Fatal(err)
	}
	return m.ID
}

// entries is what the store has.
func entries(t *testing.T, s store.Store, prefix string) []store.Entry {
	t.Helper()
	list, _, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (f *fixture) keep(id string) {
	f.t.Helper()
	if _, err := f.Update(f.t.Context(), id, func(m *boot.Machine) error {
		m.Flashed = &boot.Flashed{Job: "j"}
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
}

// Each case tells what is heard, in order, and of which machine it is.
// A heard is what a machine said of itself, and which one it is.
type heard struct {
	boot.Facts
	machine string
}

func hear(mac boot.MAC, uuid *boot.UUID, serial, machine string) heard {
	return heard{boot.Facts{MAC: mac, UUID: uuid, Serial: serial}, machine}
}

// ones is a UUID that firmware has where nobody set one.
var ones = &boot.UUID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// sequences are what is heard, in order, by what it shows.
var sequences = map[string][]heard{
	"a MAC is a machine": {
		hear(nicA, nil, "", "1"), hear(nicA, nil, "", "1"), hear(nicB, nil, "", "2"),
	},
	"two NICs and one UUID are one machine": {
		hear(nicA, uuid1, "", "1"), hear(nicB, uuid1, "", "1"), hear(nicA, nil, "", "1"), hear(nicB, nil, "", "1"),
	},
	"a dock's MAC with two UUIDs is two machines": {
		hear(dock, uuid1, "", "1"), hear(dock, uuid2, "", "2"), hear(dock, uuid1, "", "1"),
		hear(nicA, uuid1, "", "1"), hear(nicB, uuid2, "", "2"),
	},
	"without a UUID a dock's MAC is who had it last": {
		hear(dock, uuid1, "", "1"), hear(dock, uuid2, "", "2"), hear(dock, nil, "", "2"),
		hear(dock, uuid1, "", "1"), hear(dock, nil, "", "1"),
	},
	"ROM with, loader without a UUID": {
		hear(nicA, uuid1, "", "1"), hear(nicA, nil, "", "1"), hear(nicA, uuid1, "", "1"),
	},
	"ROM without, loader with a UUID": {
		hear(nicA, nil, "", "1"), hear(nicA, uuid1, "", "1"), hear(nicB, uuid1, "", "1"),
	},
	"U-Boot's MAC under two UUIDs": {
		hear(uboot, nil, "", "1"), hear(uboot, uuid1, "", "1"), hear(uboot, uuid2, "", "2"),
		hear(uboot, uuid1, "", "1"), hear(uboot, nil, "", "1"),
	},
	"U-Boot's MAC under two serials": {
		hear(uboot, nil, "s1", "1"), hear(uboot, nil, "s2", "2"), hear(uboot, nil, "s1", "1"),
	},
	"a UUID of zeros or ones says nothing": {
		hear(nicA, &boot.UUID{}, "", "1"), hear(nicB, &boot.UUID{}, "", "2"),
		hear(nicA, ones, "", "1"), hear(nicB, ones, "", "2"), hear(dock, uuid1, "", "3"),
	},
	"a serial is one machine over its NICs": {
		hear(nicA, nil, "s1", "1"), hear(nicB, nil, "s1", "1"), hear(nicB, uuid1, "", "1"), hear(dock, uuid1, "", "1"),
	},
	"two serials with one UUID: the UUID counts no more": {
		hear(nicA, uuid1, "s1", "1"), hear(nicB, uuid1, "s2", "2"), hear(nicA, uuid1, "", "1"), hear(nicB, uuid1, "", "2"),
		hear(dock, uuid1, "", "3"), hear(nicA, uuid2, "", "1"), hear(dock, uuid1, "s1", "1"),
	},
	"two UUIDs with one serial: the serial counts no more": {
		hear(nicA, uuid1, "None", "1"), hear(nicB, uuid2, "None", "2"), hear(nicA, nil, "None", "1"), hear(dock, nil, "None", "3"),
	},
	"two records of one machine become one": {
		hear(nicA, uuid1, "", "1"), hear(nicB, nil, "", "2"), hear(nicB, uuid1, "", "1"), hear(nicB, nil, "", "1"),
	},
	"UUID and serial heard apart, then together": {
		hear(nicA, uuid1, "", "1"), hear(nicB, nil, "s1", "2"), hear(nicA, uuid1, "s1", "1"), hear(nicB, nil, "", "1"),
	},
}

func TestIdentify(t *testing.T) {
	for name, seq := range sequences {
		t.Run(name, func(t *testing.T) {
			for _, kept := range []bool{false, true} {
				f := open(t)
				ids := map[string]string{}
				for i, h := range seq {
					id := f.id(h.Facts)
					want, ok := ids[h.machine]
					if !ok && !slices.ContainsFunc(seq[:i], func(o heard) bool { return ids[o.machine] == id }) {
						ids[h.machine], want = id, id
					}
					if id != want {
						t.Errorf("kept %v: heard %d is machine %s of %v, want the one called %s", kept, i, id, ids, h.machine)
					}
					if kept && h.machine == "1" {
						f.keep(id)
						f.reopen() // nothing may depend on what was only in memory of the first machine
						for name := range ids {
							if name != "1" {
								delete(ids, name)
							}
						}
					}
				}
			}
		})
	}
}

func TestUUIDOfTooManyMACsIsShared(t *testing.T) {
	f := open(t)
	first := f.id(boot.Facts{MAC: boot.MAC{5: 1}, UUID: uuid1})
	for i := range maxMACs - 1 {
		if id := f.id(boot.Facts{MAC: boot.MAC{5: byte(i + 2)}, UUID: uuid1}); id != first {
			t.Fatalf("NIC %d is another machine", i+2)
		}
	}
	f.keep(first)
	x := f.id(boot.Facts{MAC: nicA, UUID: uuid1})
	if x == first {
		t.Error("more NICs than a machine has are still one machine")
	}
	f.reopen()
	if y := f.id(boot.Facts{MAC: nicB, UUID: uuid1}); y == first {
		t.Error("after a restart the UUID is one machine's again")
	}
	if m, _ := f.Find(t.Context(), first); m.UUID != nil {
		t.Errorf("the first machine has UUID %s", m.UUID)
	}
}

func TestUpdateIsRemembered(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	heard := f.id(boot.Facts{MAC: nicA})
	want, err := f.Identify(ctx, boot.Facts{MAC: nicB, UUID: uuid1, Serial: "s", Board: "qemu-x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	want.Flashed = &boot.Flashed{Job: "j", Disk: "d", Time: time.Now().UTC().Round(0)}
	want.Wanted = &boot.Wanted{Order: boot.Order{Action: boot.ActionFlash, Overwrite: true}, Job: "k"}
	got, err := f.Update(ctx, want.ID, func(m *boot.Machine) error {
		m.Flashed, m.Wanted = want.Flashed, want.Wanted
		return nil
	})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Update = %+v, %v, want %+v", got, err, want)
	}
	f.id(boot.Facts{MAC: dock, UUID: uuid1}) // learned after Update, stored as well
	want.MACs = append(want.MACs, dock)

	f.reopen()
	for _, s := range []string{want.ID, nicB.String(), nicB.Hyphens(), dock.String()} {
		got, err := f.Find(ctx, s)
		got.Seen = want.Seen
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Find(%s) = %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{heard, nicA.String(), "", "machine/x"} {
		if m, err := f.Find(ctx, s); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find(%q) = %+v, %v, want ErrNotFound", s, m, err)
		}
	}
}

func TestUpdateErrors(t *testing.T) {
	f := open(t)
	nothing := func(*boot.Machine) error { return nil }
	if _, err := f.Update(t.Context(), "0123456789abcdef", nothing); !errors.Is(err, ErrNotFound) {
		t.Errorf("machine that nobody heard: %v", err)
	}
	id := f.id(boot.Facts{MAC: nicA})
	own := errors.New("own")
	if _, err := f.Update(t.Context(), id, func(m *boot.Machine) error { m.Board = "x"; return own }); !errors.Is(err, own) {
		t.Errorf("error of f: %v", err)
	}
	if m, _ := f.Find(t.Context(), id); m.Board != "" {
		t.Error("a change that was given up is seen")
	}
	if all := entries(t, f.s, prefix); len(all) != 0 {
		t.Errorf("store has %v", all)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Update(ctx, id, nothing); err == nil {
		t.Error("Update under a context that ended")
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	f := open(t)
	id := f.id(boot.Facts{MAC: nicA})
	other := other(t, f.s)
	f.keep(id)
	var wg sync.WaitGroup
	const writers, each = 4, 10
	for i := range writers {
		r := []*Registry{f.Registry, other}[i%2]
		wg.Go(func() {
			for range each {
				for {
					_, err := r.Update(t.Context(), id, func(m *boot.Machine) error {
						m.Flashed.Job += "."
						return nil
					})
					if err == nil {
						break
					}
					if !errors.Is(err, store.ErrConflict) {
						t.Error(err)
						return
					}
				}
				r.Identify(t.Context(), boot.Facts{MAC: nicB})
				r.List(t.Context())
			}
		})
	}
	wg.Wait()
	f.reopen()
	if m, err := f.Find(t.Context(), id); err != nil || len(m.Flashed.Job) != 1+writers*each {
		t.Errorf("after %d updates: %+v, %v", writers*each, m.Flashed, err)
	}
}

func TestStrangersStayInMemoryAndFew(t *testing.T) {
	f := open(t)
	kept := f.id(boot.Facts{MAC: nicA, UUID: uuid1})
	f.keep(kept)
	for i := range 3 * maxStrangers {
		var facts boot.Facts
		binary.BigEndian.PutUint32(facts.MAC[2:], uint32(i))
		facts.MAC[0], facts.UUID, facts.Serial = 2, &boot.UUID{0: 9, 14: byte(i >> 8), 15: byte(i)}, fmt.Sprint(i)
		f.id(facts)
	}
	if n := len(f.known); n != maxStrangers+1 {
		t.Errorf("%d machines in memory, want %d", n, maxStrangers+1)
	}
	if m, u, s := len(f.index.macs), len(f.index.uuids), len(f.index.serials); m != maxStrangers+1 || u != maxStrangers+1 || s != maxStrangers {
		t.Errorf("index holds %d MACs, %d UUIDs, %d serials", m, u, s)
	}
	if all := entries(t, f.s, ""); len(all) != 1 {
		t.Errorf("store has %d entries, want 1", len(all))
	}
	if id := f.id(boot.Facts{MAC: nicB, UUID: uuid1}); id != kept {
		t.Error("strangers pushed out a machine that is remembered")
	}
	all, err := f.List(t.Context())
	if err != nil || len(all) != maxStrangers+1 || all[0].ID != kept {
		t.Errorf("List = %d machines, %v; want %d, the one heard last first", len(all), err, maxStrangers+1)
	}
}

func TestSharedMarksAreBounded(t *testing.T) {
	f := open(t)
	for i := range 2 * maxShared {
		u := &boot.UUID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		f.id(boot.Facts{MAC: nicA, UUID: u, Serial: fmt.Sprint("a", i)})
		f.id(boot.Facts{MAC: nicB, UUID: u, Serial: fmt.Sprint("b", i)})
	}
	if n := len(f.shared); n != maxShared {
		t.Errorf("%d marks, want %d", n, maxShared)
	}
}

// A stranger with the MAC of a machine that is remembered, and UUIDs that he
// makes up, does not fill the disk.
func TestStoredMarksAreBounded(t *testing.T) {
	f := open(t)
	victim := f.id(boot.Facts{MAC: nicA, UUID: uuid1})
	for i := range maxMACs - 1 {
		f.id(boot.Facts{MAC: boot.MAC{5: byte(i + 1)}, UUID: uuid1})
	}
	f.keep(victim)
	f.id(boot.Facts{MAC: nicB, UUID: uuid1}) // one too many: the UUID counts no more
	for i := range maxShared + 50 {
		u := &boot.UUID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		f.id(boot.Facts{MAC: nicA, UUID: u})
		f.id(boot.Facts{MAC: boot.MAC{2, 3, 4, 0, byte(i >> 8), byte(i)}, UUID: u})
	}
	marks := entries(t, f.s, sharedPrefix)
	if len(marks) > maxShared || len(marks) < maxShared/2 {
		t.Errorf("%d marks on disk, want at most %d", len(marks), maxShared)
	}
	f.reopen()
	if got := f.id(boot.Facts{MAC: nicA}); got != victim || len(f.shared) > maxShared {
		t.Errorf("after a restart it is machine %s, was %s; %d marks", got, victim, len(f.shared))
	}
}

func TestCallersCannotReachInside(t *testing.T) {
	f := open(t)
	m, err := f.Identify(t.Context(), boot.Facts{MAC: nicA, UUID: uuid1})
	if err != nil {
		t.Fatal(err)
	}
	m.MACs[0], *m.UUID = nicB, boot.UUID{7}
	again, err := f.Find(t.Context(), m.ID)
	if err != nil || again.MACs[0] != nicA || *again.UUID != *uuid1 {
		t.Errorf("a caller changed the registry's machine: %+v, %v", again, err)
	}
}
