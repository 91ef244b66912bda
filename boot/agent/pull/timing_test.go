package pull

import (
	"testing"
	"time"
)

// The arithmetic of Timing's comment.
func TestTiming(t *testing.T) {
	d := DefaultTiming
	if got := 3*d.Stall + d.MaxBackoff; got != 75*time.Second {
		t.Errorf("a silent outage costs %v after it, the comment says 75 s", got)
	}
	rto := time.Duration(0)
	for r := 200 * time.Millisecond; r <= 6400*time.Millisecond; r *= 2 {
		rto += r
	}
	if d.Stall <= rto {
		t.Errorf("stall %v is within TCP's own silence of %v", d.Stall, rto)
	}
	if d.GiveUp < 2*time.Minute+3*d.Stall+d.MaxBackoff {
		t.Errorf("gives up after %v, before an appliance has rebooted", d.GiveUp)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		want *= time.Second
		if got := d.longest(i + 1); got != want {
			t.Errorf("longest wait %d is %v, want %v", i+1, got, want)
		}
		for range 100 {
			if got := d.wait(i + 1); got < want/2 || got > want {
				t.Errorf("wait %d is %v, want %v to %v", i+1, got, want/2, want)
			}
		}
	}
	if got := d.longest(1 << 20); got != d.MaxBackoff {
		t.Errorf("after very many rounds %v", got)
	}
}

// What is zero is the default's, field by field.
func TestTimingDefaults(t *testing.T) {
	got := Timing{Stall: time.Second, GiveUp: -1}.orDefaults()
	if want := (Timing{time.Second, DefaultTiming.Backoff, DefaultTiming.MaxBackoff, -1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
