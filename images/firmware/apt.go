package firmware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bootlace/bootlace/images"
)

// apt runs Debian's apt-get and apt-cache with a state of their own.
type apt struct{ conf string }

// debianSources are for machines that do not run Debian. Ubuntu and Raspbian have
// other kernels and no linux-image-cloud-amd64. The keys are in their package
// debian-archive-keyring.
const debianSources = `Types: deb
URIs: http://deb.debian.org/debian
Suites: stable stable-updates
Components: main
Signed-By: ` + debianKeyring + `

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: stable-security
Components: main
Signed-By: ` + debianKeyring + `
`

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// newApt prepares the state for one architecture in dir. Without sources a Debian
// machine's own are used, with its mirrors and proxies.
func newApt(dir, arch, sources string) (*apt, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "sources"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	conf := aptConf(dir, arch)
	if sources == "" && !isDebian("/etc/os-release") {
		if _, err := os.Stat(debianKeyring); err != nil {
			return nil, errors.New("the keys of Debian's archive are missing: install debian-archive-keyring")
		}
		sources = debianSources
	}
	if sources != "" {
		conf += aptForeign(dir)
		if err := images.WriteFile(filepath.Join(dir, "sources", "debian.sources"), []byte(sources), 0o644); err != nil {
			return nil, err
		}
	}
	// With an empty status file nothing counts as installed. So apt shows the
	// archive's version and not the machine's.
	if err := images.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return nil, err
	}
	a := &apt{conf: filepath.Join(dir, "apt.conf")}
	return a, images.WriteFile(a.conf, []byte(conf), 0o644)
}

// aptConf is read after the machine's own configuration. The cleared hooks would
// clean up the machine's caches. Without Sandbox::User, apt as root would
// download as a user who cannot enter root's home.
func aptConf(dir, arch string) string {
	return fmt.Sprintf(`#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture %[2]q;
APT::Architectures { %[2]q; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "%[1]s/state";
Dir::State::lists "%[1]s/state/lists";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Dir::Cache::archives "%[1]s/cache/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
`, dir, arch)
}

// aptForeign replaces the machine's sources and preferences by our own.
func aptForeign(dir string) string {
	return fmt.Sprintf(`Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "%s/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
`, dir)
}

func isDebian(osRelease string) bool {
	raw, _ := os.ReadFile(osRelease)
	for _, line := range strings.Split(string(raw), "\n") {
		if strings.Trim(strings.TrimPrefix(line, "ID="), `"'`) == "debian" && strings.HasPrefix(line, "ID=") {
			return true
		}
	}
	return false
}

func (a *apt) run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, append([]string{"-c", a.conf}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// resolve takes name or name=version and follows metapackages of kernels.
func (a *apt) resolve(ctx context.Context, want string) (Package, error) {
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", want)
	if err != nil {
		return Package{}, err
	}
	field := controlFields(string(out))
	if real := kernelPackage(field["Depends"]); real != "" {
		return a.resolve(ctx, real)
	}
	pkg := Package{Name: field["Package"], Version: field["Version"], Arch: field["Architecture"], SHA256: field["SHA256"]}
	if pkg.Name == "" || pkg.Version == "" || len(pkg.SHA256) != 64 {
		return Package{}, fmt.Errorf("apt-cache show %s: no package with a SHA-256", want)
	}
	return pkg, nil
}

// download puts pkg into dir, once its digest is that of the signed lists.
func (a *apt) download(ctx context.Context, pkg *Package, dir string) error {
	tmp, err := os.MkdirTemp(dir, ".download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.run(ctx, tmp, "apt-get", "download", "-qq", pkg.Name+"="+pkg.Version); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s: %d files", pkg.Name, len(debs))
	}
	got, err := fileDigest(debs[0])
	if err != nil {
		return err
	}
	if got != pkg.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s, not %s", filepath.Base(debs[0]), got, pkg.SHA256)
	}
	pkg.File = filepath.Base(debs[0])
	pkg.Path = filepath.Join(dir, pkg.File)
	return os.Rename(debs[0], pkg.Path)
}

// controlFields reads the one-line fields of the first paragraph (deb-control(5)).
func controlFields(text string) map[string]string {
	fields := make(map[string]string)
	first, _, _ := strings.Cut(text, "\n\n")
	for _, line := range strings.Split(first, "\n") {
		if key, value, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, " ") {
			fields[key] = value
		}
	}
	return fields
}

var versioned = regexp.MustCompile(`^(linux-(?:image|source)-[^ ]+)(?: \(= ([^)]+)\))?$`)

// kernelPackage returns the kernel's image or source that a metapackage depends
// on, as name or name=version. "" means none.
func kernelPackage(depends string) string {
	for _, dep := range strings.Split(depends, ", ") {
		if m := versioned.FindStringSubmatch(dep); m != nil && m[2] != "" {
			return m[1] + "=" + m[2]
		} else if m != nil {
			return m[1]
		}
	}
	return ""
}
