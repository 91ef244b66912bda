package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// Two appliances on one store never give one address to two machines.
func TestTwoAppliances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		a, b := pool(t, s, []Subnet{lab}), pool(t, s, []Subnet{lab})
		// Both offer the same address, since an offer is in memory.
		want := netip.MustParseAddr("10.0.0.107")
		for c, l := range map[int]*Leases{1: a, 2: b} {
			if o, err := l.Offer(client(c), want); err != nil || o.Addr != want {
				t.Fatalf("offered %s, %v", o.Addr, err)
			}
		}
		if _, err := a.Bind(t.Context(), client(1), want); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Bind(t.Context(), client(2), want); !errors.Is(err, ErrWrong) {
			t.Errorf("the second machine is given %s as well: %v", want, err)
		}
		synctest.Wait()
		if list := b.List(); len(list) != 1 || list[0].MAC != mac(1) {
			t.Errorf("the second appliance lists %v", list)
		}
		// The machine can go on with either, and has one address.
		if got := b.mustBind(t, client(1)); got != want {
			t.Errorf("the second appliance gives it %s", got)
		}
		if err := b.Release(t.Context(), client(1), want); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := a.Bind(t.Context(), client(3), want); err != nil {
			t.Errorf("what the other released: %v", err)
		}
	})
}

// All machines ask both appliances at once.
func TestRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		pools := []*Leases{pool(t, s, []Subnet{lab}), pool(t, s, []Subnet{lab})}
		const machines = 10 // as many as the pool has addresses
		done := make(chan struct{})
		for n := range machines {
			go func() {
				defer func() { done <- struct{}{} }()
				for try := 0; ; try++ {
					l := pools[(n+try)%2]
					o, err := l.Offer(client(n), none)
					if err == nil {
						_, err = l.Bind(t.Context(), client(n), o.Addr)
					}
					if err == nil {
						return
					}
					if try > 100 {
						t.Errorf("machine %d has no address: %v", n, err)
						return
					}
					time.Sleep(time.Second)
				}
			}()
		}
		for range machines {
			<-done
		}
		synctest.Wait()
		for _, l := range pools {
			list := l.List()
			if len(list) != machines {
				t.Errorf("%d leases for %d machines", len(list), machines)
			}
			for i, a := range list {
				for _, b := range list[:i] {
					if a.MAC == b.MAC {
						t.Errorf("machine %s has %s and %s", a.MAC, a.Addr, b.Addr)
					}
				}
			}
		}
	})
}

// A slowStore writes after a pause, whoever still waits for it.
type slowStore struct {
	store.Store
	pause time.Duration
}

func (s *slowStore) Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (store.Entry, error) {
	type result struct {
		e   store.Entry
		err error
	}
	done := make(chan result, 1)
	go func() {
		time.Sleep(s.pause)
		e, err := s.Store.Swap(context.WithoutCancel(ctx), key, rev, value, expires)
		done <- result{e, err}
	}()
	select {
	case r := <-done:
		return r.e, r.err
	case <-ctx.Done():
		return store.Entry{}, context.Cause(ctx)
	}
}

// A packet does not wait for a slow store, and the next one of the same machine
// is answered. The log is told once.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &slowStore{memory(t), 2 * time.Second}
		l, err := New(t.Context(), s, []Subnet{lab}, nil, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for range 3 {
			if _, err := l.Bind(t.Context(), client(1), lab.PoolFrom); !errors.Is(err, ErrLate) {
				t.Errorf("bind: %v", err)
			}
		}
		if took := time.Since(begin); took != 3*store.DefaultTiming.Packet {
			t.Errorf("three packets took %v", took)
		}
		time.Sleep(4 * time.Second) // its client asks again
		if b, err := l.Bind(t.Context(), client(1), lab.PoolFrom); err != nil || b.Addr != lab.PoolFrom {
			t.Errorf("asked again: %v, %v", b.Addr, err)
		}
		if n := strings.Count(log.String(), "level="); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.String())
		}
	})
}

// A record that a newer version wrote is not overwritten, and its address is
// given to nobody.
func TestUnreadableLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		addr := lab.PoolFrom
		if _, err := s.Swap(t.Context(), prefix+addr.String(), 0, []byte(`{"v":2}`), time.Time{}); err != nil {
			t.Fatal(err)
		}
		l := pool(t, s, []Subnet{lab})
		if _, err := l.Bind(t.Context(), client(1), addr); !errors.Is(err, ErrWrong) {
			t.Errorf("bind: %v", err)
		}
		for n := range 9 {
			if got := l.mustBind(t, client(n)); got == addr {
				t.Error("its address is given away")
			}
		}
		if _, err := l.Offer(client(9), addr); !errors.Is(err, ErrExhausted) {
			t.Errorf("offer: %v", err)
		}
		if e, err := s.Get(t.Context(), prefix+addr.String()); err != nil || string(e.Value) != `{"v":2}` {
			t.Errorf("the store has %s, %v", e.Value, err)
		}
	})
}

// An appliance that dies between a machine's new lease and the end of its old
// one leaves both. The machine then has the one that is reserved for it.
func TestKilledWhileMoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		ctx, old := t.Context(), lab.PoolFrom
		if _, err := pool(t, s, []Subnet{lab}).Bind(ctx, client(200), old); err != nil {
			t.Fatal(err)
		}
		b := pool(t, s, []Subnet{lab}, dut1)
		if err := b.book.set(ctx, dut1.Addr, record{V: 1, MAC: dut1.MAC}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		l := pool(t, s, []Subnet{lab}, dut1)
		if got := l.mustBind(t, Client{MAC: dut1.MAC, At: at}); got != dut1.Addr {
			t.Errorf("it has %s, had %s", got, old)
		}
		time.Sleep(2 * time.Hour)
		if n := written(t, s); n != 0 {
			t.Errorf("%d leases have not ended", n)
		}
	})
}
