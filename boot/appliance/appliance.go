// Package appliance is the serving half put together: it decides what each
// machine gets, and runs the servers that give it.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/appliance/lease"
	"github.com/bootlace/bootlace/boot/appliance/registry"
	"github.com/bootlace/bootlace/boot/appliance/store"
	"github.com/bootlace/bootlace/boot/appliance/store/bolt"
	"github.com/bootlace/bootlace/boot/appliance/web"
	"github.com/bootlace/bootlace/images"
	"golang.org/x/sync/errgroup"
)

// Files in the state folder.
const (
	StoreFile   = "bootlace.db"
	ControlSock = "control.sock"  // changes are taken here, see web.Server.Control
	ControlFile = "control.token" // or over HTTP with this token
	keyFile     = "event.key"     // event tokens are computed with it
)

// maxSockPath is what sun_path holds (unix(7)), less the zero at its end.
const maxSockPath = 107

// journalKeep is how many events are held in memory, about 300 bytes each.
const journalKeep = 16384

// machinesHeard bounds what is remembered of machines between two packets.
const machinesHeard = 8192

// An Appliance serves one configuration.
type Appliance struct {
	cfg          *config.Config
	log          *slog.Logger
	links        []link
	self         netip.Addr // as whom the appliance opens its own tree
	tree         *images.Tree
	store        store.Store
	registry     *registry.Registry
	journal      *journal.Journal
	manifests    manifests
	described    described
	digests      digests
	key          []byte
	controlToken string
	heard        *recent[boot.MAC, boot.Facts]
	who          *recent[netip.Addr, boot.MAC]
	leases       *lease.Leases // nil but in full mode
	uploads      *uploads      // nil where none are taken
	web          *web.Server
	sockets      sockets
	bounds       bounds
}

// A Mistake is something that the user can mend in the config, the flags or
// the folders they name.
type Mistake struct{ error }

func (m Mistake) Unwrap() error { return m.error }

// New opens the ports and folders and checks what the config names. Close it
// when done. Errors that the user can mend are Mistakes.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Appliance, error) {
	return open(ctx, cfg, log, true)
}

// Check does what New does, but opens no port.
func Check(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	a, err := open(ctx, cfg, log, false)
	if err != nil {
		return err
	}
	return a.Close()
}

func open(ctx context.Context, cfg *config.Config, log *slog.Logger, listen bool) (*Appliance, error) {
	a := &Appliance{
		cfg: cfg, log: log,
		self:      netip.IPv6Loopback(),
		manifests: manifests{dir: filepath.Join(cfg.State, "manifests"), raw: map[string]version[[]byte]{}},
		described: described{of: map[string]version[boot.Image]{}},
		digests:   digests{of: map[string]version[boot.File]{}},
		heard:     newRecent[boot.MAC, boot.Facts](machinesHeard),
		who:       newRecent[netip.Addr, boot.MAC](machinesHeard),
		journal:   journal.New(log, journalKeep),
		bounds:    openFiles(log),
	}
	var err error
	if listen {
		err = a.sockets.open(ctx, cfg)
	}
	if err == nil {
		err = a.fill(ctx, cfg, listen)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// fill opens the rest. Close undoes it, however far it came.
func (a *Appliance) fill(ctx context.Context, cfg *config.Config, listen bool) (err error) {
	if a.links, err = links(cfg); err != nil {
		return Mistake{err}
	}
	if cfg.DHCP.Mode != config.Off && cfg.Advertise.IsValid() && !cfg.Advertise.Is4() {
		return Mistake{fmt.Errorf("advertise: %s is no IPv4 address, and DHCP can tell machines of no other; --dhcp off goes without", cfg.Advertise)}
	}
	if sock := filepath.Join(cfg.State, ControlSock); len(sock) > maxSockPath {
		return Mistake{fmt.Errorf("state: %s: its name may have %d bytes at most, for the socket in it", cfg.State, maxSockPath-len(ControlSock)-1)}
	}
	if cfg.DHCP.Mode == config.Full {
		if cfg.DHCP.Subnets, err = subnets(cfg, a.links); err != nil {
			return Mistake{err}
		}
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return Mistake{fmt.Errorf("state: %w", err)}
	}
	if err := os.Chmod(cfg.State, 0o700); err != nil {
		return Mistake{fmt.Errorf("state: %w", err)}
	}
	db, err := bolt.Open(filepath.Join(cfg.State, StoreFile))
	switch {
	case err == nil:
		a.store = db
	case !errors.Is(err, store.ErrBusy):
		return err
	case listen:
		return Mistake{err}
	default:
		a.store = store.NewMemory() // a config is checked while the appliance runs that is to get it
	}
	if a.key, err = secret(filepath.Join(cfg.State, keyFile)); err != nil {
		return err
	}
	token, err := secret(filepath.Join(cfg.State, ControlFile))
	if err != nil {
		return err
	}
	a.controlToken = string(token)
	if a.registry, err = registry.New(ctx, a.store, a.log); err != nil {
		return err
	}
	if cfg.DHCP.Mode == config.Full {
		if a.leases, err = lease.New(ctx, a.store, cfg.DHCP.Subnets, cfg.DHCP.Hosts, a.log); err != nil {
			return Mistake{fmt.Errorf("dhcp: %w", err)}
		}
	}
	if cfg.Upload != "" {
		if a.uploads, err = openUploads(cfg.Upload); err != nil {
			return Mistake{fmt.Errorf("upload: %w", err)}
		}
	}
	if a.tree, err = images.OpenTree(cfg.Root, a.first, a.last); err != nil {
		return Mistake{fmt.Errorf("root: %w", err)}
	}
	a.tree.Elsewhere = a.elsewhere
	if err := a.prepare(ctx); err != nil {
		return Mistake{err}
	}
	a.web = a.webServer()
	return nil
}

// Close gives back what New opened.
func (a *Appliance) Close() error {
	a.sockets.close()
	var errs []error
	if a.uploads != nil {
		errs = append(errs, a.uploads.root.Close())
	}
	if a.tree != nil {
		errs = append(errs, a.tree.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, and returns nil then. A server that cannot start
// or dies ends the others.
func (a *Appliance) Run(ctx context.Context) error {
	servers, err := a.servers(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range servers {
		group.Go(func() error { return run(ctx) })
	}
	a.log.Info("serving", "root", a.cfg.Root, "dhcp", a.cfg.DHCP.Mode, "tftp", a.cfg.TFTP, "ftp", a.cfg.FTP, "http", a.cfg.HTTP,
		"interface", a.linkNames(), "address", a.links[0].addr())
	err = group.Wait()
	a.log.Info("stopped")
	return err
}

func (a *Appliance) linkNames() []string {
	var names []string
	for _, l := range a.links {
		names = append(names, l.name)
	}
	return names
}

// busy explains an error of listening: which port, which key, what to do.
func busy(key, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return Mistake{fmt.Errorf("%s: %s is taken by another program; stop that one, or choose --%s ADDR or --%s off", key, addr, key, key)}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return Mistake{fmt.Errorf("%s: %s is no address of this machine", key, addr)}
	case errors.Is(err, syscall.EACCES):
		return Mistake{fmt.Errorf("%s: %s needs root or CAP_NET_BIND_SERVICE", key, addr)}
	}
	return fmt.Errorf("%s: listen on %s: %w", key, addr, err)
}

// served notes a file that went out to the machine at `from`, or did not.
func (a *Appliance) served(from netip.Addr, ev boot.Event) {
	ev.Kind = boot.KindServe
	if mac, ok := a.who.get(from.Unmap()); ok {
		ev.MAC = mac
		if m, err := a.registry.Find(context.Background(), mac.String()); err == nil {
			ev.Machine = m.ID
		}
	}
	a.journal.Add(ev)
}

// controlListener is the unix socket for changes. One left by a process that
// died is removed: the store's lock says that no other is alive.
func (a *Appliance) controlListener() (net.Listener, error) {
	path := filepath.Join(a.cfg.State, ControlSock)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, os.Chmod(path, 0o600)
}
