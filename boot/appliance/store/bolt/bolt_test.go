package bolt

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/store/storetest"
)

// A clock is a store's, and stands still until it is told to pass.
type clock struct {
	store *Store

	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Pass deletes what expired, as the writer does from time to time.
func (c *clock) Pass(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	c.store.sweeps <- struct{}{}
}

// openTest opens a store that is closed with the test.
func openTest(t *testing.T, path string) (*Store, *clock) {
	t.Helper()
	c := &clock{now: time.Now()}
	s, err := open(path, DefaultTiming, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	c.store = s
	s.db.NoSync = true // a process that is killed loses nothing by it
	t.Cleanup(func() { s.Close() })
	return s, c
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Subject{
		Open: func(t *testing.T) (store.Store, storetest.Clock) {
			return openTest(t, filepath.Join(t.TempDir(), "state.db"))
		},
		Kill: kill,
	})
}

// childPath names the file for a child process.
const childPath = "BOOTLACE_TEST_STORE"

// kill has a child write one key, kills it, and opens what it left.
func kill(t *testing.T) store.Store {
	path := filepath.Join(t.TempDir(), "state.db")
	child := exec.Command(os.Args[0], "-test.run=^TestChildThatIsKilled$")
	child.Env = append(os.Environ(), childPath+"="+path)
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(storetest.Guard, func() { child.Process.Kill() })
	defer guard.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	child.Process.Kill()
	child.Wait()
	if line != "half\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	s, _ := openTest(t, path)
	return s
}

// TestChildThatIsKilled is the child of kill.
func TestChildThatIsKilled(t *testing.T) {
	path := os.Getenv(childPath)
	if path == "" {
		return
	}
	s, _ := openTest(t, path)
	storetest.Interrupted(t, s, func() {
		os.Stdout.WriteString("half\n")
		time.Sleep(10 * storetest.Guard) // until it is killed
	})
}

// What was written stays, and revisions go on where they were.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, c := openTest(t, path)
	until := c.Now().Add(time.Hour)
	a, err := s.Swap(t.Context(), "a", 0, []byte("two"), until)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Swap(t.Context(), "b", 0, []byte("x"), time.Time{})
	if err == nil {
		b, err = s.Swap(t.Context(), "b", b.Rev, nil, time.Time{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s, _ = openTest(t, path)
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "two" || e.Rev != a.Rev || e.Expires.Before(until) {
		t.Errorf("after reopening: %+v, %v", e, err)
	}
	if err := s.Watch(t.Context(), "", a.Rev, func(store.Entry) {}); !errors.Is(err, store.ErrGap) {
		t.Errorf("watch from before it was opened: %v", err)
	}
	if e, err := s.Swap(t.Context(), "b", 0, []byte("again"), time.Time{}); err != nil || e.Rev <= b.Rev {
		t.Errorf("revision %d after the deletion's %d, %v", e.Rev, b.Rev, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestLockedFileSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	openTest(t, path)
	_, err := Open(path)
	if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), "another instance") || !strings.Contains(err.Error(), path) {
		t.Errorf("second open: %v", err)
	}
	if DefaultTiming.Lock >= time.Second {
		t.Errorf("it is told after %v, want within a second", DefaultTiming.Lock)
	}
}

// A sweep of nothing costs no write to disk.
func TestSweepOfNothing(t *testing.T) {
	s, c := openTest(t, filepath.Join(t.TempDir(), "state.db"))
	if _, err := s.Swap(t.Context(), "a", 0, []byte("x"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	before := s.db.Stats()
	c.Pass(time.Hour)
	c.Pass(time.Hour) // taken up after the first sweep ended
	after := s.db.Stats()
	if n := after.TxStats.GetWrite() - before.TxStats.GetWrite(); n != 0 {
		t.Errorf("%d pages were written", n)
	}
}
