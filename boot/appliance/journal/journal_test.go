package journal

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootlace/bootlace/boot"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestAddNumbersAndKeeps(t *testing.T) { synctest.Test(t, testAddNumbersAndKeeps) }

func testAddNumbersAndKeeps(t *testing.T) {
	j := New(quiet(), 3)
	for i := range 5 {
		ev := j.Add(boot.Event{Kind: boot.KindDHCP, Machine: "m", Seq: 99, Text: fmt.Sprint(i)})
		if ev.Seq != uint64(i+1) {
			t.Errorf("event %d got seq %d", i, ev.Seq)
		}
		if !ev.Time.Equal(time.Now()) {
			t.Errorf("event %d got time %v", i, ev.Time)
		}
		time.Sleep(time.Minute)
	}
	if got := j.Last(); got != 5 {
		t.Errorf("Last() = %d", got)
	}
	if got := texts(j.Since(0, math.MaxInt)); got != "2 3 4" {
		t.Errorf("Since(0) = %s, want the last three", got)
	}
	if got := texts(j.Since(4, math.MaxInt)); got != "4" {
		t.Errorf("Since(4) = %s", got)
	}
	if got := texts(j.Since(0, 2)); got != "2 3" {
		t.Errorf("Since(0, 2) = %s", got)
	}
	if got := j.Since(math.MaxUint64, 1); got != nil {
		t.Errorf("Since of what is to come = %v", got)
	}
	if got := j.Since(5, math.MaxInt); got != nil {
		t.Errorf("Since(5) = %v, want none", got)
	}
	if got := texts(j.Machine("m")); got != "0 1 2 3 4" {
		t.Errorf("Machine(m) = %s, want all five though three are kept overall", got)
	}
	if got := j.Machine("n"); got != nil {
		t.Errorf("Machine(n) = %v", got)
	}
}

func texts(events []boot.Event) string {
	var s []string
	for _, ev := range events {
		s = append(s, ev.Text)
	}
	return strings.Join(s, " ")
}

func TestStrangersCannotPushOutAStory(t *testing.T) {
	j := New(quiet(), 100)
	j.Add(boot.Event{Machine: "ours", Kind: boot.KindStart, Text: "began"})
	for i := range 10 * maxStories {
		j.Add(boot.Event{Machine: "chatty", Kind: boot.KindDHCP})
		j.Add(boot.Event{Machine: fmt.Sprint("made up ", i), Kind: boot.KindDHCP})
	}
	if got := texts(j.Machine("ours")); got != "began" {
		t.Errorf("the machine's story is %q", got)
	}
	if n := len(j.Machine("chatty")); n != maxStory/2 {
		t.Errorf("chatty has %d events, want %d", n, maxStory/2)
	}
	if len(j.stories) != maxStories || j.unreported.Len()+j.reported.Len() != maxStories {
		t.Errorf("%d stories, %d + %d listed, want %d", len(j.stories), j.unreported.Len(), j.reported.Len(), maxStories)
	}
}

func TestMachinesThatSpokeLeaveRoomForNewOnes(t *testing.T) {
	j := New(quiet(), 1)
	for i := range 3 * maxStories {
		j.Add(boot.Event{Machine: fmt.Sprint("told ", i), Kind: boot.KindStart})
	}
	j.Add(boot.Event{Machine: "new", Kind: boot.KindDHCP, Text: "first"})
	j.Add(boot.Event{Machine: "other", Kind: boot.KindDHCP})
	if got := texts(j.Machine("new")); got != "first" {
		t.Errorf("the newcomer's story is %q", got)
	}
	if len(j.stories) != maxStories {
		t.Errorf("%d stories, want %d", len(j.stories), maxStories)
	}
}

func TestProgressIsOneEventOfAStory(t *testing.T) {
	j := New(quiet(), 10000)
	j.Add(boot.Event{Machine: "m", Kind: boot.KindPull, Text: "a"})
	for i := range 3 * maxStory {
		j.Add(boot.Event{Machine: "m", Kind: boot.KindWrite, Text: fmt.Sprint(i)})
	}
	j.Add(boot.Event{Machine: "m", Kind: boot.KindVerify, Text: "b"})
	j.Add(boot.Event{Machine: "m", Kind: boot.KindWrite, Text: "c"})
	j.Add(boot.Event{Machine: "m", Kind: boot.KindWrite, Boot: "next", Text: "d"})
	if got, want := texts(j.Machine("m")), fmt.Sprintf("a %d b c d", 3*maxStory-1); got != want {
		t.Errorf("story is %q, want %q", got, want)
	}
	if n := len(j.Since(0, math.MaxInt)); n != 3*maxStory+4 {
		t.Errorf("%d events overall, want every one", n)
	}
}

func TestSubscribe(t *testing.T) { synctest.Test(t, testSubscribe) }

func testSubscribe(t *testing.T) {
	j := New(quiet(), 10)
	ctx, cancel := context.WithCancel(t.Context())
	fast, slow := j.Subscribe(ctx), j.Subscribe(ctx)
	const n = 3 * maxLag
	for i := range n {
		j.Add(boot.Event{Kind: boot.KindDHCP})
		if ev := <-fast; ev.Seq != uint64(i+1) {
			t.Fatalf("fast reader got %d, want %d", ev.Seq, i+1)
		}
	}
	if ev := <-slow; ev.Seq != n-maxLag+1 {
		t.Errorf("slow reader's first is %d, want the oldest of the last %d", ev.Seq, maxLag)
	}
	cancel()
	synctest.Wait()
	if _, ok := <-fast; ok {
		t.Fatal("channel was not closed when ctx ended")
	}
	for left := 1; ; left++ { // what it had is still there
		if _, ok := <-slow; !ok {
			if left != maxLag {
				t.Errorf("%d events were left of %d", left, maxLag)
			}
			break
		}
	}
	j.Add(boot.Event{}) // after a channel was closed
	if n := len(j.subs); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}

// A subscriber gets what comes after it asked, and one that leaves disturbs
// no other.
func TestSubscribersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := New(quiet(), 10)
		j.Add(boot.Event{Text: "before"})
		stays := j.Subscribe(t.Context())
		ctx, leave := context.WithCancel(t.Context())
		leaves := j.Subscribe(ctx)
		j.Add(boot.Event{Text: "both"})
		leave()
		synctest.Wait()
		j.Add(boot.Event{Text: "one"})
		for name, tt := range map[string]struct {
			c    <-chan boot.Event
			want string
		}{"one that stays": {stays, "both one"}, "one that leaves": {leaves, "both"}} {
			var got []boot.Event
			for len(tt.c) > 0 {
				got = append(got, <-tt.c)
			}
			if texts(got) != tt.want {
				t.Errorf("%s: got %q, want %q", name, texts(got), tt.want)
			}
		}
	})
}

// Since tells the same whatever a reader has seen and however many it takes at
// a time, as long as the journal keeps the events.
func TestSinceInPieces(t *testing.T) {
	const keep, added = 16, 50
	j := New(quiet(), keep)
	for i := range added {
		j.Add(boot.Event{Text: fmt.Sprint(i + 1)})
	}
	for seen := range uint64(added + 2) {
		for n := range keep + 2 {
			got := j.Since(seen, n)
			first := max(seen+1, added-keep+1)
			if want := min(n, max(0, added-int(first)+1)); len(got) != want {
				t.Fatalf("%d after %d: %d events, want %d", n, seen, len(got), want)
			}
			for i, ev := range got {
				if ev.Seq != first+uint64(i) || ev.Text != fmt.Sprint(ev.Seq) {
					t.Fatalf("%d after %d: event %d is %+v", n, seen, i, ev)
				}
			}
		}
	}
}

// What counts as a machine's own word, and what only as seen.
func TestWhoSpoke(t *testing.T) {
	for _, kind := range boot.Kinds {
		t.Run(string(kind.Kind), func(t *testing.T) {
			j := New(quiet(), 1)
			j.Add(boot.Event{Machine: "m", Kind: kind.Kind})
			spoke := kind.FromDevice || kind.Kind == boot.KindAsked
			if told := j.reported.Len() == 1; told != spoke || j.unreported.Len()+j.reported.Len() != 1 {
				t.Errorf("the machine counts as one that spoke: %v, want %v", told, spoke)
			}
		})
	}
}

// Events without a machine are kept overall and tell no story.
func TestEventsOfNoMachine(t *testing.T) {
	j := New(quiet(), 0) // keeps one all the same
	j.Add(boot.Event{Text: "nobody's"})
	if got := texts(j.Since(0, math.MaxInt)); got != "nobody's" || len(j.stories) != 0 || j.Machine("") != nil {
		t.Errorf("%q, %d stories", got, len(j.stories))
	}
}

// A story that was handed out does not change with what comes later.
func TestStoriesAreCopies(t *testing.T) {
	j := New(quiet(), 10)
	j.Add(boot.Event{Machine: "m", Kind: boot.KindWrite, Text: "one"})
	before := j.Machine("m")
	j.Add(boot.Event{Machine: "m", Kind: boot.KindWrite, Text: "two"})
	if texts(before) != "one" || texts(j.Machine("m")) != "two" {
		t.Errorf("before %q, now %q", texts(before), texts(j.Machine("m")))
	}
}

func TestRing(t *testing.T) {
	for _, size := range []int{1, 2, 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := ring{capacity: size}
			for i := range uint64(3 * size) {
				r.add(boot.Event{Seq: i})
				kept := r.events()
				if len(kept) != min(int(i)+1, size) {
					t.Fatalf("%d events after %d", len(kept), i+1)
				}
				for k := range kept {
					if want := i - uint64(k); r.back(k).Seq != want || kept[len(kept)-1-k].Seq != want {
						t.Fatalf("after %d: %d back is %d, listed %d", i, k, r.back(k).Seq, kept[len(kept)-1-k].Seq)
					}
				}
				if r.back(len(kept)) != nil {
					t.Fatal("there is one before the oldest")
				}
			}
		})
	}
}

func TestConcurrentAdd(t *testing.T) {
	var log bytes.Buffer
	j := New(slog.New(slog.NewJSONHandler(&log, nil)), 1000)
	sub := j.Subscribe(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				j.Add(boot.Event{Machine: "m", Kind: boot.KindDHCP})
				j.Since(0, math.MaxInt)
				j.Machine("m")
			}
		})
	}
	wg.Wait()
	for i := range 200 {
		if ev := <-sub; ev.Seq != uint64(i+1) {
			t.Fatalf("subscriber got %d, want %d", ev.Seq, i+1)
		}
		line, _ := log.ReadBytes('\n')
		if ev, ok := ParseLine(line); !ok || ev.Seq != uint64(i+1) {
			t.Fatalf("line %d of the log is %s", i+1, line)
		}
	}
}

// Events that anybody can cause do not push out a machine's reports.
func TestKnockingKeepsTheStory(t *testing.T) {
	j := New(quiet(), 3)
	j.Add(boot.Event{Machine: "m", Kind: boot.KindPlan, Text: "told"})
	j.Add(boot.Event{Machine: "m", Kind: boot.KindStart, Text: "hello"})
	for range 2 * maxStory {
		j.Add(boot.Event{Machine: "m", Kind: boot.KindPlan, Text: "knock"})
	}
	j.Add(boot.Event{Machine: "m", Kind: boot.KindDone, Text: "bye"})
	got := j.Machine("m")
	if n := len(got); got[0].Text != "hello" || got[n-1].Text != "bye" || n > maxStory {
		t.Errorf("story of %d events is %s", n, texts(got))
	}
}
