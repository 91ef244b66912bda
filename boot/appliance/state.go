package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/store/bolt"
	"github.com/bootlace/bootlace/images"
)

// Files in the state folder.
const (
	StoreFile    = "bootlace.db"
	ControlSock  = "control.sock"  // unix socket for changes, see web.Server.Control
	ControlFile  = "control.token" // token for changes over HTTP
	keyFile      = "event.key"     // key of the tokens' HMAC
	manifestsDir = "manifests"     // folder for manifests that are not in the root
)

// maxSockPath is the size of sun_path (unix(7)), less the zero at its end.
const maxSockPath = 107

// A state is the state folder and the store in it.
type state struct {
	dir          string
	store        store.Store
	key          []byte
	controlToken string
}

// openState opens the state folder, and makes it where it is missing. The user
// can mend an error that is a Mistake. With listen false another appliance may
// have the folder open.
func openState(dir string, listen bool) (*state, error) {
	if sock := filepath.Join(dir, ControlSock); len(sock) > maxSockPath {
		return nil, Mistake{fmt.Errorf("state: %s: its name may have %d bytes at most, for the socket in it", dir, maxSockPath-len(ControlSock)-1)}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Mistake{fmt.Errorf("state: %w", err)}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, Mistake{fmt.Errorf("state: %w", err)}
	}
	db, err := openStore(filepath.Join(dir, StoreFile), listen)
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir, store: db}
	if s.key, err = secret(filepath.Join(dir, keyFile)); err == nil {
		var token []byte
		token, err = secret(filepath.Join(dir, ControlFile))
		s.controlToken = string(token)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// openStore opens the store's file. With listen false another appliance may
// have it open. Then the store is an empty one in memory, good enough for
// --check.
func openStore(path string, listen bool) (store.Store, error) {
	db, err := bolt.Open(path)
	switch {
	case err == nil:
		return db, nil
	case !errors.Is(err, store.ErrBusy):
		return nil, err
	case listen:
		return nil, Mistake{err}
	}
	return store.NewMemory(), nil
}

// secret reads a key of 32 bytes from the state folder. It draws one where
// there is none.
func secret(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw = []byte(boot.RandomHex(32))
		return raw, images.WriteFile(path, raw, 0o600)
	}
	if err == nil && len(bytes.TrimSpace(raw)) < 32 {
		err = fmt.Errorf("%s: shorter than 32 bytes; remove it and start again", path)
	}
	return bytes.TrimSpace(raw), err
}

// listenControl opens the unix socket for changes. One that a dead process left
// is removed first. The store's lock proves that no other appliance runs.
func (s *state) listenControl() (net.Listener, error) {
	path := filepath.Join(s.dir, ControlSock)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, os.Chmod(path, 0o600)
}
