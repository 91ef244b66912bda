package firmware

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/board"
)

// Check finds what would stop the making of firmware for these boards. It takes
// no time, so that nobody waits a minute to learn of a missing right.
func (s *Builder) Check(boards ...*board.Board) error {
	for _, bd := range boards {
		if bd.Unbuilt != "" && s.opt.Kernel == "" {
			return fmt.Errorf("build %s: %s", bd.Name, bd.Unbuilt)
		}
		if _, ok := board.ArchOf(bd.Arch); !ok {
			return fmt.Errorf("build %s: no architecture %s", bd.Name, bd.Arch)
		}
	}
	if _, err := moduleRoot(s.opt.Source); err != nil {
		return fmt.Errorf("find the source: %w", err)
	}
	if missing := missingNeeds(buildNeeds); len(missing) > 0 {
		return fmt.Errorf("this machine lacks what makes firmware: apt install %s", strings.Join(missing, " "))
	}
	for _, bd := range boards {
		if err := writable(filepath.Join(s.opt.Dir, filepath.FromSlash(bd.File("")))); err != nil {
			return fmt.Errorf("write firmware: %w", err)
		}
	}
	return nil
}

// writable makes a folder and checks that files can be made in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// A need is a program or header file, and the Debian package that has it.
type need struct{ name, debian string }

var buildNeeds = []need{
	{"go", "golang-go"}, {"zstd", "zstd"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"},
}

var compileNeeds = []need{
	{"make", "make"}, {"gcc", "gcc"}, {"ld", "binutils"}, {"flex", "flex"}, {"bison", "bison"},
	{"bc", "bc"}, {"perl", "perl"}, {"xz", "xz-utils"}, {"tar", "tar"}, {"/usr/include/gelf.h", "libelf-dev"},
}

// missingNeeds returns the packages of what is not there.
func missingNeeds(needs []need) (packages []string) {
	for _, n := range needs {
		var err error
		if path.IsAbs(n.name) {
			_, err = os.Stat(n.name)
		} else {
			_, err = exec.LookPath(n.name)
		}
		if err != nil {
			packages = append(packages, n.debian)
		}
	}
	return packages
}
