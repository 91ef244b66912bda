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

	"github.com/bootlace/bootlace/board"
)

// A Volume is the file system on the disk of an appliance that is firmware.
type Volume struct {
	Config string            // bootlace.yaml
	Root   string            // folder whose files are served, or ""
	Files  map[string]string // more files: name under the served root -> file of the host
}

// volumeRoom is for state and uploads, in bytes.
const volumeRoom = 64 << 20

// Make writes the volume as an ext4 file system to the file path, without root.
func (v Volume) Make(ctx context.Context, path string) error {
	if err := v.write(ctx, path); err != nil {
		return fmt.Errorf("make BOOTLACE disk: %w", err)
	}
	return nil
}

func (v Volume) write(ctx context.Context, path string) error {
	// Staged beside the disk, where there is room and hard links work.
	dir, err := os.MkdirTemp(filepath.Dir(path), "volume")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for sub, mode := range map[string]fs.FileMode{"root": 0o755, "state": 0o700} {
		if err := os.Mkdir(filepath.Join(dir, sub), mode); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, board.VolumeConfig), []byte(v.Config), 0o644); err != nil {
		return err
	}
	var size int64
	add := func(name, file string) error {
		n, err := stage(filepath.Join(dir, "root", filepath.FromSlash(name)), file)
		size += n
		return err
	}
	if v.Root != "" {
		err := filepath.WalkDir(v.Root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(v.Root, file)
			if err != nil {
				return err
			}
			return add(filepath.ToSlash(name), file)
		})
		if err != nil {
			return err
		}
	}
	for name, file := range v.Files {
		if err := add(name, file); err != nil {
			return err
		}
	}
	return v.format(ctx, path, dir, size)
}

func (v Volume) format(ctx context.Context, path, dir string, size int64) error {
	mke2fs, err := lookPath("mke2fs")
	if err != nil {
		return err
	}
	size += size/16 + volumeRoom // a sixteenth is more than ext4's own tables
	if err := BlankDisk(path, size); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-L", board.VolumeLabel,
		"-E", "root_owner=0:0", "-d", dir, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// MissingForVolume returns an error if this host lacks the program that Make
// needs.
func MissingForVolume() error {
	if _, err := lookPath("mke2fs"); err != nil {
		return fmt.Errorf("%w: apt install e2fsprogs", err)
	}
	return nil
}

// stage puts a file at path and returns its size. It makes a hard link if it can.
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
