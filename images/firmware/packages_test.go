package firmware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// A repo is a flat apt repository in a folder, asked through the real apt.
type repo struct {
	t     *testing.T
	dir   string
	index bytes.Buffer
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	nettest.Need(t, "apt-get")
	nettest.Need(t, "dpkg-deb")
	return &repo{t: t, dir: t.TempDir()}
}

// add builds a package that holds one file, boot/vmlinuz-VERSION.
func (r *repo) add(name, version, depends string) {
	r.t.Helper()
	tree := r.t.TempDir()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: arm64\nMaintainer: test <t@example.org>\n", name, version)
	if depends != "" {
		control += "Depends: " + depends + "\n"
	}
	control += "Description: test\n"
	for file, text := range map[string]string{"DEBIAN/control": control, "boot/vmlinuz-" + version: "kernel " + version} {
		os.MkdirAll(filepath.Join(tree, filepath.Dir(file)), 0o755)
		if err := os.WriteFile(filepath.Join(tree, file), []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	os.Chmod(tree, 0o755)
	deb := filepath.Join(r.dir, name+"_"+version+"_arm64.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", tree, deb).CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	fi, err := os.Stat(deb)
	if err != nil {
		r.t.Fatal(err)
	}
	digest, err := fileDigest(deb)
	if err != nil {
		r.t.Fatal(err)
	}
	fmt.Fprintf(&r.index, "%sFilename: ./%s\nSize: %d\nSHA256: %s\n\n", control, filepath.Base(deb), fi.Size(), digest)
	if err := os.WriteFile(filepath.Join(r.dir, "Packages"), r.index.Bytes(), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) packages(cache string) *Packages {
	return &Packages{Dir: cache, Log: slog.New(slog.DiscardHandler),
		sources: "Types: deb\nURIs: copy:" + r.dir + "\nSuites: ./\nTrusted: yes\n"}
}

const (
	metaKernel = "linux-image-test-arm64"
	metaSuffix = "kmod, linux-image-%[1]s-test-arm64 (= %[1]s)"
)

func (r *repo) addKernel(version string) {
	r.t.Helper()
	r.add(metaKernel, version, fmt.Sprintf(metaSuffix, version))
	r.add("linux-image-"+version+"-test-arm64", version, "kmod")
}

// noApt makes asking apt fail.
func noApt(t *testing.T) { t.Setenv("PATH", t.TempDir()) }

func TestPackages(t *testing.T) {
	r := newRepo(t)
	r.addKernel("6.1")
	cache := t.TempDir()
	get := func(p *Packages, version string) Package {
		t.Helper()
		pkg, err := p.Get(t.Context(), "arm64", metaKernel)
		if err != nil {
			t.Fatal(err)
		}
		if pkg.Name != "linux-image-"+version+"-test-arm64" || pkg.Version != version || pkg.Arch != "arm64" {
			t.Fatalf("got %+v, want version %s", pkg, version)
		}
		if digest, err := fileDigest(pkg.Path); err != nil || digest != pkg.SHA256 {
			t.Fatalf("%s: %s, %v", pkg.File, digest, err)
		}
		return pkg
	}
	first := get(r.packages(cache), "6.1")

	// What was resolved stays, though the archive has something newer.
	r.addKernel("6.2")
	get(r.packages(cache), "6.1")

	// A damaged file is fetched again, in the version that was resolved.
	if err := os.WriteFile(first.Path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	get(r.packages(cache), "6.1")

	// --update takes the newest, once a process.
	update := r.packages(cache)
	update.Update = true
	get(update, "6.2")
	r.addKernel("6.3")
	get(update, "6.2")
	get(r.packages(cache), "6.2")

	// None of that needs the network, except when the file is gone.
	t.Run("offline", func(t *testing.T) {
		noApt(t)
		p := r.packages(cache)
		pkg := get(p, "6.2")
		if err := os.Remove(pkg.Path); err != nil {
			t.Fatal(err)
		}
		if _, err := r.packages(cache).Get(t.Context(), "arm64", metaKernel); err == nil {
			t.Error("a package that is not there was got without apt")
		}
	})
	_, err := r.packages(cache).Get(t.Context(), "arm64", "no-such-package")
	if err == nil || !strings.Contains(err.Error(), "no-such-package") {
		t.Errorf("a package that does not exist: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "packages", ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Bytes that are not those of the list are never taken.
func TestPackagesTampered(t *testing.T) {
	r := newRepo(t)
	r.addKernel("6.1")
	deb := filepath.Join(r.dir, "linux-image-6.1-test-arm64_6.1_arm64.deb")
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(deb, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if pkg, err := r.packages(t.TempDir()).Get(t.Context(), "arm64", metaKernel); err == nil {
		t.Errorf("took %+v", pkg)
	}
}

// Several at once, with one cache: all get the package, and the cache is whole.
func TestPackagesTogether(t *testing.T) {
	r := newRepo(t)
	r.addKernel("6.1")
	cache := t.TempDir()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			name := metaKernel
			if i%2 == 1 {
				name = "linux-image-6.1-test-arm64"
			}
			if _, err := r.packages(cache).Get(t.Context(), "arm64", name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var pkg Package
	t.Run("offline", func(t *testing.T) {
		noApt(t)
		var err error
		for _, name := range []string{metaKernel, "linux-image-6.1-test-arm64"} {
			if pkg, err = r.packages(cache).Get(t.Context(), "arm64", name); err != nil {
				t.Fatal(err)
			}
		}
	})
	dir := t.TempDir()
	if err := unpack(t.Context(), pkg.Path, dir, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "boot", "vmlinuz-6.1")); err != nil || string(got) != "kernel 6.1" {
		t.Errorf("it holds %q, %v", got, err)
	}
	if err := os.Truncate(pkg.Path, 400); err != nil {
		t.Fatal(err)
	}
	if err := unpack(t.Context(), pkg.Path, t.TempDir(), func(string) bool { return true }); err == nil {
		t.Error("half a package was unpacked")
	}
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	unlock, err = lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestKernelPackage(t *testing.T) {
	for _, tt := range []struct{ depends, want string }{
		{"linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)", "linux-image-6.1.0-56-cloud-amd64=6.1.192-2"},
		{"kmod, linux-image-6.1.0-56-armmp", "linux-image-6.1.0-56-armmp"},
		{"kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb11u2) | linux-initramfs-tool", ""},
		{"", ""},
	} {
		t.Run(tt.depends, func(t *testing.T) {
			if got := kernelPackage(tt.depends); got != tt.want {
				t.Errorf("%q: %q, want %q", tt.depends, got, tt.want)
			}
		})
	}
}

func TestIsDebian(t *testing.T) {
	for text, want := range map[string]bool{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n": true,
		"ID=\"debian\"\n":                   true,
		"ID=ubuntu\nID_LIKE=debian\n":       false,
		"ID=raspbian\nID_LIKE=\"debian\"\n": false,
		"debian\n":                          false,
	} {
		t.Run(text, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "os-release")
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := isDebian(name); got != want {
				t.Errorf("%q: %v", text, got)
			}
		})
	}
}
