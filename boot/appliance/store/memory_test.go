package store_test

import (
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/store/storetest"
)

// bubble is the clock of a synctest bubble.
type bubble struct{}

func (bubble) Now() time.Time       { return time.Now() }
func (bubble) Pass(d time.Duration) { time.Sleep(d) }

func TestMemory(t *testing.T) {
	storetest.Run(t, storetest.Subject{
		Open: func(t *testing.T) (store.Store, storetest.Clock) {
			s := store.NewMemory()
			t.Cleanup(func() { s.Close() })
			return s, bubble{}
		},
		Bubble: true,
	})
}
