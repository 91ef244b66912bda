package lease

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Who asks again and again is told yes, and the disk is left alone; what is on
// it outlasts what he was told.
func TestAskingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t)
		l := pool(t, s, []Subnet{lab})
		addr, writes, rev := l.mustBind(t, client(1)), 0, uint64(0)
		for range 2 * 60 * 10 { // every 6 s for two hours
			b, err := l.Bind(t.Context(), client(1), addr)
			if err != nil {
				t.Fatal(err)
			}
			e, err := s.Get(t.Context(), prefix+addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if e.Rev != rev {
				rev, writes = e.Rev, writes+1
			}
			if told := time.Now().Add(lab.Lease); !b.Expires.Equal(told) || e.Expires.Before(told) {
				t.Fatalf("told until %v, want %v; kept until %v", b.Expires, told, e.Expires)
			}
			time.Sleep(6 * time.Second)
		}
		if writes > 2*grace+1 {
			t.Errorf("%d writes in two hours", writes)
		}
	})
}

// Who declines all that he is given leaves the rest of the pool to others.
func TestDecliningForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pool(t, memory(t), []Subnet{lab})
		declined := 0
		for range 3 * int(lab.size()) {
			o, err := l.Offer(client(1), none)
			if err != nil {
				t.Fatalf("after %d declined addresses: %v", declined, err)
			}
			switch err := l.Decline(t.Context(), client(1), o.Addr); {
			case err == nil:
				declined++
			case !errors.Is(err, ErrWrong):
				t.Fatal(err)
			}
		}
		if declined != maxDeclined {
			t.Errorf("%d addresses are declined by one machine, want %d", declined, maxDeclined)
		}
		for i := range int(lab.size() - maxDeclined) {
			l.mustBind(t, client(2+i))
		}
	})
}
