package dhcp

import (
	"os"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
)

// TestMain has packets wait for the store for as long as a busy machine takes.
// That they do not wait for long is tested in packages store and lease.
func TestMain(m *testing.M) {
	store.DefaultTiming.Packet = time.Minute
	os.Exit(m.Run())
}
