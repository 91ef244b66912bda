package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StoreLabel names the file system in which an appliance that booted as
// firmware finds its files.
const StoreLabel = "BOOTLACE"

// A Store is what lies on an appliance's disk.
type Store struct {
	Config string            // bootlace.yaml
	Root   string            // folder whose files are served, or ""
	Files  map[string]string // further ones: name under the served root -> file of the host
}

// Room for state and uploads on a store, in bytes.
const storeRoom = 64 << 20

// Make writes the store as an ext4 file system to the file path, without root.
func (s Store) Make(ctx context.Context, path string) error {
	if err := s.make(ctx, path); err != nil {
		return fmt.Errorf("make store disk: %w", err)
	}
	return nil
}

func (s Store) make(ctx context.Context, path string) error {
	// Staged beside the disk, where hard links work and room is.
	dir, err := os.MkdirTemp(filepath.Dir(path), "store")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for sub, mode := range map[string]fs.FileMode{"root": 0o755, "state": 0o700} {
		if err := os.Mkdir(filepath.Join(dir, sub), mode); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bootlace.yaml"), []byte(s.Config), 0o644); err != nil {
		return err
	}
	var size int64
	add := func(name, file string) error {
		n, err := stage(filepath.Join(dir, "root", filepath.FromSlash(name)), file)
		size += n
		return err
	}
	if s.Root != "" {
		err := filepath.WalkDir(s.Root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(s.Root, file)
			if err != nil {
				return err
			}
			return add(filepath.ToSlash(name), file)
		})
		if err != nil {
			return err
		}
	}
	for name, file := range s.Files {
		if err := add(name, file); err != nil {
			return err
		}
	}
	return s.format(ctx, path, dir, size)
}

func (s Store) format(ctx context.Context, path, dir string, size int64) error {
	mke2fs, err := lookPath("mke2fs")
	if err != nil {
		return err
	}
	size += size/16 + storeRoom // a sixteenth for ext4's own tables, and more than that
	if err := BlankDisk(path, size); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-L", StoreLabel,
		"-E", "root_owner=0:0", "-d", dir, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// stage puts a file at path, by a hard link where the file system lets it, and
// returns its size.
func stage(path, file string) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	in, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: not a regular file", file)
	}
	if err := os.Link(file, path); err == nil {
		return fi.Size(), nil
	} else if errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return 0, err
	}
	return fi.Size(), out.Close()
}
