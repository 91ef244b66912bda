package limit

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst, perSecond = 1000, 200
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		r := NewRate(burst, perSecond)
		for i := byte(2); r.bucket(a) == r.bucket(b); i++ { // one pair in 256 shares a bucket
			b = netip.AddrFrom4([4]byte{192, 0, 2, i})
		}
		for _, step := range []struct {
			name string
			wait time.Duration
			want int
		}{
			{"at once", 0, burst},
			{"in the next second", time.Second, perSecond},
			{"after an hour", time.Hour, burst},
		} {
			time.Sleep(step.wait)
			n := 0
			for r.Take(a, time.Now()) {
				n++
			}
			if n != step.want {
				t.Errorf("%s: %d answers, want %d", step.name, n, step.want)
			}
		}
		if !r.Take(b, time.Now()) {
			t.Error("another's answers are held back too")
		}
	})
}
