package appliance

import "testing"

// Strangers who come and go do not push out one who was just heard, however
// long ago he was first.
func TestRecent(t *testing.T) {
	r := newRecent[int, string](3)
	r.put(0, "honest")
	for i := 1; i <= 100; i++ {
		r.put(0, "heard again")
		r.put(i, "stranger")
		if v, ok := r.get(0); !ok || v != "heard again" {
			t.Fatalf("after %d strangers: %q, %v", i, v, ok)
		}
	}
	for i, want := range map[int]bool{100: true, 99: true, 98: false} {
		if _, ok := r.get(i); ok != want {
			t.Errorf("stranger %d is remembered: %v", i, ok)
		}
	}
	if len(r.of) != 3 || r.order.Len() != 3 {
		t.Errorf("%d and %d of 3 are held", len(r.of), r.order.Len())
	}
}
