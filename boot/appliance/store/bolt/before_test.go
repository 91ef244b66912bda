package bolt_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/registry"
	"github.com/bootlace/bootlace/boot/appliance/store/bolt"
	"go.etcd.io/bbolt"
)

// A stateFolder of the version that had one package for the interface and the
// file. Values are literal, so that nothing of today's code makes them.
func stateFolder(t *testing.T, expires time.Time) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootlace.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("entries"))
		if err != nil {
			return err
		}
		for _, e := range []struct {
			rev        uint64
			key, value string
			expires    int64
		}{
			{3, "lease/10.0.0.101", `{"v":1,"mac":"52:54:00:00:00:01","id":"AFUAAQ=="}`, expires.Unix()},
			{4, "lease/10.0.0.102", `{"v":1,"mac":"52:54:00:00:00:02","declined":true}`, expires.Unix()},
			{5, "lease/10.0.0.103", `{"v":1,"mac":"52:54:00:00:00:03"}`, 1},
			{8, "machine/0123456789abcdef", `{"id":"0123456789abcdef","macs":["52:54:00:00:00:01"],"uuid":"00000001-0000-0000-0000-000000000000",` +
				`"serial":"s1","board":"qemu-x86_64","seen":"2026-01-02T03:04:05Z","flashed":{"job":"j","image":"i","manifest_sha256":"m","disk":"d","time":"2026-01-02T03:04:05Z"}}`, 0},
			{9, "shared-uuid/00000002-0000-0000-0000-000000000000", `{}`, 0},
		} {
			raw := binary.BigEndian.AppendUint64(nil, e.rev)
			raw = binary.BigEndian.AppendUint64(raw, uint64(e.expires))
			if err := b.Put([]byte(e.key), append(raw, e.value...)); err != nil {
				return err
			}
		}
		return b.SetSequence(12)
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A state folder of before opens: machines, shared UUIDs and leases are known.
func TestStateFolderOfBefore(t *testing.T) {
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	s, err := bolt.Open(stateFolder(t, expires))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	machines, err := registry.New(t.Context(), s, log)
	if err != nil {
		t.Fatal(err)
	}
	first := boot.MAC{0x52, 0x54, 0, 0, 0, 1}
	m, err := machines.Find(t.Context(), first.String())
	if err != nil || m.ID != "0123456789abcdef" || m.Serial != "s1" || m.Flashed == nil || m.Flashed.Disk != "d" || m.UUID.String() != "00000001-0000-0000-0000-000000000000" {
		t.Errorf("the machine is %+v, %v", m, err)
	}
	shared, err := boot.ParseUUID("00000002-0000-0000-0000-000000000000")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for n := range 2 {
		m, err := machines.Identify(t.Context(), boot.Facts{MAC: boot.MAC{2, 5: byte(n)}, UUID: &shared})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ID)
	}
	if ids[0] == ids[1] {
		t.Error("a shared UUID is one machine's again")
	}

	subnet := lease.Subnet{
		Prefix:   netip.MustParsePrefix("10.0.0.0/24"),
		PoolFrom: netip.MustParseAddr("10.0.0.101"), PoolTo: netip.MustParseAddr("10.0.0.103"),
	}
	leases, err := lease.New(t.Context(), s, []lease.Subnet{subnet}, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	list := leases.List()
	if len(list) != 1 || list[0].MAC != first || !list[0].Expires.Equal(expires) || fmt.Sprintf("%x", list[0].ID) != "00550001" {
		t.Errorf("leases are %+v", list)
	}
	at := netip.MustParseAddr("10.0.0.1")
	if o, err := leases.Offer(lease.Client{MAC: boot.MAC{2, 5: 9}, At: at}, netip.Addr{}); err != nil || o.Addr.String() != "10.0.0.103" {
		t.Errorf("offered %s, %v; only 10.0.0.103 is free", o.Addr, err)
	}
}

// A machine that was flashed is written as before, for an appliance of before.
func TestFormatStays(t *testing.T) {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "bootlace.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	machines, err := registry.New(t.Context(), s, log)
	if err != nil {
		t.Fatal(err)
	}
	mac := boot.MAC{0x52, 0x54, 0, 0, 0, 1}
	m, err := machines.Identify(t.Context(), boot.Facts{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	seen := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if _, err := machines.Update(t.Context(), m.ID, func(m *boot.Machine) error { m.Seen = seen; return nil }); err != nil {
		t.Fatal(err)
	}
	leases, err := lease.New(t.Context(), s, []lease.Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24"),
		PoolFrom: netip.MustParseAddr("10.0.0.101"), PoolTo: netip.MustParseAddr("10.0.0.101")}}, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	c, addr := lease.Client{MAC: mac, ID: []byte{0, 0x55, 0, 1}, At: netip.MustParseAddr("10.0.0.1")}, netip.MustParseAddr("10.0.0.101")
	_, err = leases.Bind(t.Context(), c, addr)
	for errors.Is(err, lease.ErrLate) { // a busy disk; its client would ask again
		_, err = leases.Bind(t.Context(), c, addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"machine/" + m.ID:  `{"id":"` + m.ID + `","macs":["52:54:00:00:00:01"],"seen":"2026-01-02T03:04:05Z"}`,
		"lease/10.0.0.101": `{"v":1,"mac":"52:54:00:00:00:01","id":"AFUAAQ=="}`,
	} {
		if e, err := s.Get(t.Context(), key); err != nil || string(e.Value) != want {
			t.Errorf("%s is %s, %v; want %s", key, e.Value, err, want)
		}
	}
}
