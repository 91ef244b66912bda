package bolt

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/store"
	"go.etcd.io/bbolt"
)

// head is what stands before a value on disk: its revision, and the Unix
// seconds at which it expires, 0 for never. Both are 64 bits, big endian.
const head = 16

// read returns the entry of a key, and false where none is left.
func read(tx *bbolt.Tx, key string, now time.Time) (store.Entry, bool, error) {
	raw := tx.Bucket(bucket).Get([]byte(key))
	if raw == nil {
		return store.Entry{}, false, nil
	}
	e, err := decode([]byte(key), raw)
	if err != nil || e.Expired(now) {
		return store.Entry{}, false, err
	}
	return e, true, nil
}

// put writes a key, or deletes it for a nil value.
func put(tx *bbolt.Tx, key string, value []byte, expires time.Time) (store.Entry, error) {
	b := tx.Bucket(bucket)
	rev, err := b.NextSequence()
	if err != nil {
		return store.Entry{}, err
	}
	if value == nil {
		return store.Entry{Key: key, Rev: rev}, b.Delete([]byte(key))
	}
	raw := make([]byte, head, head+len(value))
	binary.BigEndian.PutUint64(raw, rev)
	if expires = store.WholeSeconds(expires); !expires.IsZero() {
		binary.BigEndian.PutUint64(raw[8:], uint64(expires.Unix()))
	}
	raw = append(raw, value...)
	if err := b.Put([]byte(key), raw); err != nil {
		return store.Entry{}, err
	}
	return decode([]byte(key), raw)
}

func decode(key, raw []byte) (store.Entry, error) {
	if len(raw) < head {
		return store.Entry{}, fmt.Errorf("entry %q is damaged: %d bytes", key, len(raw))
	}
	e := store.Entry{Key: string(key), Rev: binary.BigEndian.Uint64(raw), Value: append([]byte{}, raw[head:]...)}
	if at := binary.BigEndian.Uint64(raw[8:]); at != 0 {
		e.Expires = time.Unix(int64(at), 0)
	}
	return e, nil
}
