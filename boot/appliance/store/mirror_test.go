package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// A faulty store does what its hooks say, or else what the store behind does.
type faulty struct {
	store.Store
	swap  func(ctx context.Context) error         // before a Swap
	watch func(ctx context.Context) error         // in place of a Watch; nil: as it is
	event func(e store.Entry, tell func())        // in place of telling a change
	list  func(ctx context.Context) (stale error) // before a List
}

func (s *faulty) Swap(ctx context.Context, key string, rev uint64, value []byte, expires time.Time) (store.Entry, error) {
	if s.swap != nil {
		if err := s.swap(ctx); err != nil {
			return store.Entry{}, err
		}
	}
	return s.Store.Swap(ctx, key, rev, value, expires)
}

func (s *faulty) List(ctx context.Context, prefix string) ([]store.Entry, uint64, error) {
	if s.list != nil {
		if err := s.list(ctx); err != nil {
			return nil, 0, err
		}
	}
	return s.Store.List(ctx, prefix)
}

func (s *faulty) Watch(ctx context.Context, prefix string, after uint64, f func(store.Entry)) error {
	if s.watch != nil {
		if err := s.watch(ctx); err != nil {
			return err
		}
	}
	return s.Store.Watch(ctx, prefix, after, func(e store.Entry) {
		if s.event != nil {
			s.event(e, func() { f(e) })
		} else {
			f(e)
		}
	})
}

// inBubble runs a test over a store in memory. It counts the lines of the log.
func inBubble(t *testing.T, f func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger)) {
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		t.Cleanup(func() { m.Close() })
		var log bytes.Buffer
		f(t, &faulty{Store: m}, &log, slog.New(slog.NewTextHandler(&log, nil)))
	})
}

func numbers(t *testing.T, s store.Store, l *slog.Logger) *store.Mirror[int] {
	t.Helper()
	m, err := store.NewMirror(t.Context(), s, store.Kind[int]{Prefix: "n/"}, l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func put(t *testing.T, s store.Store, key string, value string) {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := s.Swap(t.Context(), key, e.Rev, []byte(value), time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, s store.Store, key string) {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err == nil {
		_, err = s.Swap(t.Context(), key, e.Rev, nil, time.Time{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// all is what a Mirror holds, as text.
func all(m *store.Mirror[int]) string {
	var list []string
	for name, item := range m.All() {
		list = append(list, fmt.Sprint(name, "=", item.Value))
	}
	if len(list) > 1 && list[0] > list[1] {
		list[0], list[1] = list[1], list[0]
	}
	return strings.Join(list, " ")
}

// setTo has Update set a number.
func setTo(n int) func(store.Item[int], bool) (store.Item[int], error) {
	return func(store.Item[int], bool) (store.Item[int], error) { return store.Item[int]{Value: n}, nil }
}

// A watch that is lost, for whatever reason, is begun again within a second,
// and what happened between is not lost.
func TestLostWatch(t *testing.T) {
	for name, why := range map[string]error{"gap": store.ErrGap, "connection": errors.New("connection reset")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
				put(t, s, "n/kept", "1")
				put(t, s, "n/deleted", "2")
				lost := make(chan struct{})
				var once atomic.Bool
				s.watch = func(ctx context.Context) error {
					if once.Swap(true) {
						return nil
					}
					<-lost
					return why
				}
				m := numbers(t, s, l)
				put(t, s, "n/kept", "3")
				remove(t, s, "n/deleted")
				synctest.Wait()
				if got := all(m); got != "deleted=2 kept=1" {
					t.Fatalf("without a watch it holds %s", got)
				}
				close(lost)
				time.Sleep(time.Second)
				if got := all(m); got != "kept=3" {
					t.Errorf("after the watch was lost it holds %s", got)
				}
				put(t, s, "n/later", "4")
				synctest.Wait()
				if got := all(m); got != "kept=3 later=4" {
					t.Errorf("it does not watch again, and holds %s", got)
				}
				if n := strings.Count(log.String(), "level=WARN") + strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("told %d times:\n%s", n, log)
				}
			})
		})
	}
}

// A store that is away for long is told once, and read again when it is back.
func TestStoreAway(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		var away atomic.Bool
		down := func(context.Context) error {
			if away.Load() {
				return errors.New("no route to host")
			}
			return nil
		}
		lost := make(chan struct{})
		s.list, s.watch = down, func(ctx context.Context) error {
			if !away.Load() {
				return nil
			}
			<-lost
			return down(ctx)
		}
		away.Store(true)
		if _, err := store.NewMirror(t.Context(), s, store.Kind[int]{Prefix: "n/"}, l); err == nil {
			t.Error("it begins without the store")
		}
		away.Store(false)
		m := numbers(t, s, l)
		s.swap = down
		away.Store(true)
		for range 100 {
			if _, err := m.Update(t.Context(), "x", setTo(1)); err == nil {
				t.Fatal("it is written")
			}
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log)
		}
		away.Store(false)
		close(lost)
		if _, err := m.Update(t.Context(), "x", setTo(2)); err != nil || all(m) != "x=2" {
			t.Errorf("after it is back: %v, %s", err, all(m))
		}
		if n := strings.Count(log.String(), "calls succeed again"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log)
		}
	})
}

// A packet waits for its share and no longer. What then is written after all
// is known, since the watch tells.
func TestLateWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		m := numbers(t, s, l)
		s.swap = func(ctx context.Context) error { // is written, but not within the context
			<-ctx.Done()
			put(t, s.Store, "n/x", "1")
			return context.Cause(ctx)
		}
		begin := time.Now()
		ctx, cancel := store.PacketContext(t.Context())
		defer cancel()
		_, err := m.Update(ctx, "x", setTo(1))
		if took := time.Since(begin); !errors.Is(err, store.ErrLate) || took != store.DefaultTiming.Packet {
			t.Errorf("after %v: %v", took, err)
		}
		for range 10 {
			ctx, cancel := store.PacketContext(t.Context())
			m.Update(ctx, "y", setTo(1))
			cancel()
		}
		synctest.Wait()
		if item, err := m.Get("x"); err != nil || item.Value != 1 {
			t.Errorf("it was written, and the mirror has %v, %v", item, err)
		}
		if n := strings.Count(log.String(), "level="); n != 1 || !strings.Contains(log.String(), store.ErrLate.Error()) {
			t.Errorf("told %d times:\n%s", n, log)
		}
	})
}

func TestPacketTiming(t *testing.T) {
	const rooms, again = 2, time.Second // the least after which a client asks again
	if d := store.DefaultTiming; rooms*d.Packet >= again || d.Again+d.Packet >= time.Second {
		t.Errorf("%+v", d)
	}
}

// A value of another version is told once, kept, and not overwritten.
func TestUnreadable(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		put(t, s, "n/old", `"text"`)
		put(t, s, "n/x", "1")
		m := numbers(t, s, l)
		put(t, s, "n/x", `{"v":2}`)
		synctest.Wait()
		for name, key := range map[string]string{"old": `"text"`, "x": `{"v":2}`} {
			if _, err := m.Get(name); !errors.Is(err, store.ErrUnreadable) {
				t.Errorf("get %s: %v", name, err)
			}
			if _, err := m.Update(t.Context(), name, setTo(5)); !errors.Is(err, store.ErrUnreadable) {
				t.Errorf("update %s: %v", name, err)
			}
			if err := m.Delete(t.Context(), name, func(store.Item[int]) error { return nil }); !errors.Is(err, store.ErrUnreadable) {
				t.Errorf("delete %s: %v", name, err)
			}
			if e, err := s.Get(t.Context(), "n/"+name); err != nil || string(e.Value) != key {
				t.Errorf("the store has %s, %v", e.Value, err)
			}
		}
		if n := len(m.Unreadable()); n != 2 || all(m) != "" {
			t.Errorf("%d cannot be read, it holds %s", n, all(m))
		}
		if n := strings.Count(log.String(), "level="); n != 2 {
			t.Errorf("told %d times:\n%s", n, log)
		}
		// Found by a conflict, before the watch told.
		s.event = func(store.Entry, func()) {}
		put(t, s, "n/y", `"text"`)
		if _, err := m.Update(t.Context(), "y", setTo(5)); !errors.Is(err, store.ErrUnreadable) {
			t.Errorf("update of one not seen: %v", err)
		}
		// Who can read it mends it.
		synctest.Wait()
		s.event = nil
		put(t, s, "n/x", "7")
		synctest.Wait()
		if item, err := m.Get("x"); err != nil || item.Value != 7 {
			t.Errorf("mended: %v, %v", item, err)
		}
	})
}

// What expired is gone from the Mirror at once, though the store tells later.
func TestMirrorExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, s *faulty, log *bytes.Buffer, l *slog.Logger) {
		s.event = func(e store.Entry, tell func()) {
			if e.Value == nil {
				time.Sleep(time.Minute)
			}
			tell()
		}
		gone := make(chan string, 10)
		m, err := store.NewMirror(t.Context(), s, store.Kind[int]{Prefix: "n/", Changed: func(name string, _ store.Item[int], ok bool) {
			if !ok {
				gone <- name
			}
		}}, l)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		item, err := m.Update(t.Context(), "x", func(store.Item[int], bool) (store.Item[int], error) {
			return store.Item[int]{Value: 1, Expires: begin.Add(10 * time.Second)}, nil
		})
		if err != nil || item.Expires.Before(begin.Add(10*time.Second)) {
			t.Fatalf("%+v, %v", item, err)
		}
		time.Sleep(time.Until(item.Expires))
		if _, err := m.Get("x"); !errors.Is(err, store.ErrNotFound) || all(m) != "" {
			t.Errorf("it has %s, %v", all(m), err)
		}
		if name := <-gone; name != "x" || time.Since(begin) < time.Minute {
			t.Errorf("%s is gone after %v", name, time.Since(begin))
		}
		_, err = m.Update(t.Context(), "x", func(_ store.Item[int], ok bool) (store.Item[int], error) {
			if ok {
				t.Error("what expired is handed to Update")
			}
			return store.Item[int]{Value: 2}, nil
		})
		if err != nil || all(m) != "x=2" {
			t.Errorf("a new one: %s, %v", all(m), err)
		}
	})
}
