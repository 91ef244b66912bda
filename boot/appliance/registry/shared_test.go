package registry

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
)

// A machine that cannot be read at start is not begun anew, and not
// overwritten. Nothing is identified until somebody mends it.
func TestDamagedEntryIsAnError(t *testing.T) {
	s := store.NewMemory()
	defer s.Close()
	e, err := s.Swap(t.Context(), prefix+"x", 0, []byte("{"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	r := other(t, s)
	if _, err := r.Identify(t.Context(), boot.Facts{MAC: nicA}); err == nil || !strings.Contains(err.Error(), "machine/x is damaged") {
		t.Errorf("Identify over a damaged store: %v", err)
	}
	if _, err := r.Update(t.Context(), "x", func(*boot.Machine) error { return nil }); err == nil {
		t.Error("Update of a damaged machine")
	}
	if e, err = s.Get(t.Context(), prefix+"x"); err != nil || string(e.Value) != "{" {
		t.Errorf("the store has %q, %v", e.Value, err)
	}
}

// One that is damaged later hinders only itself.
func TestDamagedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t)
		id := f.id(boot.Facts{MAC: nicA})
		f.keep(id)
		e, err := f.s.Get(t.Context(), prefix+id)
		if err == nil {
			_, err = f.s.Swap(t.Context(), e.Key, e.Rev, []byte(`{"id":"other"}`), time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := f.id(boot.Facts{MAC: nicA}); got != id {
			t.Errorf("it is machine %s, was %s", got, id)
		}
		if _, err := f.Update(t.Context(), id, func(*boot.Machine) error { return nil }); !errors.Is(err, store.ErrUnreadable) {
			t.Errorf("Update: %v", err)
		}
		f.keep(f.id(boot.Facts{MAC: nicB}))
	})
}

// What one appliance stores the other knows.
func TestTwoAppliances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t)
		b := other(t, f.s)
		id := f.id(boot.Facts{MAC: nicA, UUID: uuid1})
		f.keep(id)
		synctest.Wait()
		m, err := b.Find(t.Context(), nicA.String())
		if err != nil || m.ID != id || m.Flashed == nil {
			t.Fatalf("the other has %+v, %v", m, err)
		}
		// An alias that it learns comes back.
		if m, err := b.Identify(t.Context(), boot.Facts{MAC: nicB, UUID: uuid1}); err != nil || m.ID != id {
			t.Fatalf("the other identifies %s, %v; want %s", m.ID, err, id)
		}
		synctest.Wait()
		if got := f.id(boot.Facts{MAC: nicB}); got != id {
			t.Errorf("the first takes its second NIC for machine %s", got)
		}
		// That a UUID is several machines' as well.
		for i := range maxMACs {
			b.Identify(t.Context(), boot.Facts{MAC: boot.MAC{5: byte(i + 1)}, UUID: uuid1})
		}
		synctest.Wait()
		if got := f.id(boot.Facts{MAC: dock, UUID: uuid1}); got == id {
			t.Error("the first takes a shared UUID for one machine's")
		}
		if m, _ := f.Find(t.Context(), id); m.UUID != nil {
			t.Errorf("the machine has UUID %s", m.UUID)
		}
	})
}

// A machine that somebody deletes from the store is a stranger again.
func TestDeletedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t)
		id := f.id(boot.Facts{MAC: nicA})
		f.keep(id)
		e, err := f.s.Get(t.Context(), prefix+id)
		if err == nil {
			_, err = f.s.Swap(t.Context(), e.Key, e.Rev, nil, time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := f.Find(t.Context(), id); !errors.Is(err, ErrNotFound) || f.stored != 0 {
			t.Errorf("find: %v; %d are stored", err, f.stored)
		}
		f.keep(f.id(boot.Facts{MAC: nicA}))
	})
}
