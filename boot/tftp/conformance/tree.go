package conformance

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// hidden is what no server may give away. It lies beside the folder served,
// and in names that start with a dot.
const hidden = "not for strangers"

// huge is the size in bytes of a file without blocks on the disk. It does not
// fit 32 bits.
const huge = 5<<30 + 11

// sizes of the files of the tree, in bytes, by name.
var sizes = map[string]int{"empty": 0, "small": 700, "exact": 1024, "middle": 100_000, "mib": 1 << 20,
	"dir/file": 1000, "dir/of two words": 600, "dir/größer": 600, "rollover": 8*65536 + 8*40 + 3}

// files are the contents of the tree, by name. They are the same in every run.
var files = sync.OnceValue(func() map[string][]byte {
	contents := map[string][]byte{}
	for name, size := range sizes {
		contents[name] = make([]byte, size)
		seed := [32]byte{7}
		copy(seed[1:], name)
		rand.NewChaCha8(seed).Read(contents[name])
	}
	contents["link-inside"] = contents["small"]
	// Line ends of all kinds, at every place in a block.
	random := rand.NewChaCha8([32]byte{8})
	for i := range 3000 {
		contents["lines"] = append(contents["lines"], "abc\n\r\r\n"[random.Uint64()%7], byte('0'+i%10))
	}
	return contents
})

// MakeTree makes the folder that a server under test serves. The folder may not
// exist. It holds:
//
//	empty, small, exact, middle, mib, rollover   files of 0 bytes to 1 MiB
//	lines                                        line ends of all kinds, for netascii
//	dir/file, "dir/of two words", dir/größer     files in a folder
//	huge                                         5 GiB without blocks on the disk
//	link-inside                                  a link to small
//	link-out, link-absolute                      links to ../secret
//	.dot, dir/.dot                               files that are to be hidden
//	pipe                                         a named pipe
//
// The file "secret" lies beside the folder, and must not be served.
func MakeTree(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make the tree: %w", err)
	}
	steps := []error{
		os.Chmod(dir, 0o755), // whatever the umask is
		os.Mkdir(filepath.Join(dir, "dir"), 0o755),
	}
	write := func(name string, content []byte) {
		steps = append(steps, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	for name, content := range files() {
		if name != "link-inside" {
			write(name, content)
		}
	}
	secret := filepath.Join(filepath.Dir(dir), "secret")
	for _, name := range []string{"../secret", ".dot", "dir/.dot"} {
		write(name, []byte(hidden))
	}
	write("huge", nil)
	steps = append(steps,
		os.Truncate(filepath.Join(dir, "huge"), huge),
		os.Symlink("small", filepath.Join(dir, "link-inside")),
		os.Symlink("../secret", filepath.Join(dir, "link-out")),
		os.Symlink(secret, filepath.Join(dir, "link-absolute")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666))
	for _, err := range steps {
		if err != nil {
			return fmt.Errorf("make the tree: %w", err)
		}
	}
	return nil
}

// CheckTree reports whether a folder is one that MakeTree made.
func CheckTree(dir string) error {
	for name, content := range files() {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("check the tree: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() != int64(len(content)) {
			return fmt.Errorf("check the tree: %s is no file of %d bytes", name, len(content))
		}
	}
	return nil
}
