package limit

import "testing"

// Strangers who come and go do not push out one who was just heard, however
// long ago he was first.
func TestRecent(t *testing.T) {
	r := NewRecent[int, string](3)
	r.Put(0, "honest")
	for i := 1; i <= 100; i++ {
		r.Put(0, "heard again")
		r.Put(i, "stranger")
		if v, ok := r.Get(0); !ok || v != "heard again" {
			t.Fatalf("after %d strangers: %q, %v", i, v, ok)
		}
	}
	for i, want := range map[int]bool{100: true, 99: true, 98: false} {
		if _, ok := r.Get(i); ok != want {
			t.Errorf("stranger %d is remembered: %v", i, ok)
		}
	}
	if len(r.byKey) != 3 || r.Len() != 3 {
		t.Errorf("%d and %d of 3 are held", len(r.byKey), r.Len())
	}
}
