package appliance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/ftp"
	"github.com/bootlace/bootlace/boot/appliance/web"
	"github.com/bootlace/bootlace/boot/tftp"
	tftpupload "github.com/bootlace/bootlace/boot/tftp/upload"
)

// A server runs until its context ends, and returns nil then.
type server func(context.Context) error

// sockets are the ports of everything but DHCP. They are opened before the
// state folder is, so that of two instances the second names the port.
type sockets struct {
	ftp, http net.Listener // nil: off, likewise tftp
	tftp      *net.UDPConn
}

func (s *sockets) open(ctx context.Context, cfg *config.Config) (err error) {
	if cfg.TFTP != "" {
		addr, err := net.ResolveUDPAddr("udp", cfg.TFTP)
		if err != nil {
			return Mistake{fmt.Errorf("tftp: %w", err)}
		}
		if s.tftp, err = net.ListenUDP("udp", addr); err != nil {
			return busy("tftp", "UDP "+cfg.TFTP, err)
		}
	}
	if s.ftp, err = listenTCP(ctx, "ftp", cfg.FTP); err != nil {
		return err
	}
	s.http, err = listenTCP(ctx, "http", cfg.HTTP)
	return err
}

func listenTCP(ctx context.Context, key, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, busy(key, "TCP "+addr, err)
	}
	return l, nil
}

func (s *sockets) close() {
	if s.tftp != nil {
		s.tftp.Close()
	}
	for _, l := range []net.Listener{s.ftp, s.http} {
		if l != nil {
			l.Close()
		}
	}
}

// servers lists what Run runs. To add a protocol, add a line here.
func (a *Appliance) servers(ctx context.Context) ([]server, error) {
	servers, err := a.dhcpServers(ctx)
	if err != nil {
		return nil, err
	}
	control, err := a.controlListener()
	if err != nil {
		return nil, err
	}
	servers = append(servers, func(ctx context.Context) error { return a.web.ServeControl(ctx, control) })
	if l := a.sockets.http; l != nil {
		servers = append(servers, func(ctx context.Context) error { return a.web.Serve(ctx, l) })
	}
	if l := a.sockets.ftp; l != nil {
		servers = append(servers, func(ctx context.Context) error { return a.ftpServer().Serve(ctx, l) })
	}
	if conn := a.sockets.tftp; conn != nil {
		servers = append(servers, func(ctx context.Context) error { return a.serveTFTP(ctx, conn) })
	}
	return servers, nil
}

// dhcpServers opens one server a link.
func (a *Appliance) dhcpServers(ctx context.Context) ([]server, error) {
	if a.cfg.DHCP.Mode == config.Off {
		return nil, nil
	}
	mode := dhcp.Mode(a.cfg.DHCP.Mode)
	var servers []server
	for _, l := range a.links {
		if mode == dhcp.Full && !a.cfg.DHCP.Force {
			others, err := dhcp.Probe(ctx, l.name)
			if err != nil {
				return nil, fmt.Errorf("dhcp: look for another server on %s: %w", l.name, err)
			}
			if len(others) > 0 {
				return nil, Mistake{fmt.Errorf("dhcp: %v gives addresses on %s already; --dhcp proxy works beside it, --force ignores it", others, l.name)}
			}
		}
		s := &dhcp.Server{
			Mode: mode, Interface: l.name, Addr: a.cfg.Advertise, Leases: a.leases, Six: a.cfg.DHCP.Six,
			Decide: a.hear, Log: a.log,
			Note: func(ev boot.Event) { a.journal.Add(ev) },
			Seen: func(mac boot.MAC, addr netip.Addr) { a.who.put(addr, mac) },
		}
		if err := s.Listen(); err != nil {
			return nil, Mistake{err}
		}
		servers = append(servers, s.Run)
	}
	return servers, nil
}

// serveTFTP tells at its end of requests that were turned away.
func (a *Appliance) serveTFTP(ctx context.Context, conn *net.UDPConn) error {
	s := a.tftpServer()
	err := s.Serve(ctx, conn)
	if refused, gaveWay := s.Counters.Refused.Load(), s.Counters.GaveWay.Load(); refused+gaveWay > 0 {
		a.log.Info("TFTP had more requests than its limits allow", "served", s.Counters.Requests.Load(), "refused", refused, "gave way", gaveWay)
	}
	return err
}

func (a *Appliance) tftpServer() *tftp.Server {
	s := &tftp.Server{
		Log: a.log, SinglePort: a.cfg.TFTPSinglePort, RollToOne: a.cfg.TFTPRollToOne, Fragments: a.cfg.TFTPFragments,
		Limits: a.tftpLimits(),
		Open: func(_ context.Context, r *tftp.Request) (*tftp.Source, error) {
			f, err := a.tree.Open(r.Name, r.Remote.Addr().Unmap())
			if err != nil {
				return nil, err
			}
			return &tftp.Source{ReaderAt: f, Size: f.Size(), Close: f.Close, Key: f.ID(), Windowsize: a.window(r.Remote.Addr().Unmap())}, nil
		},
		Done: func(r tftp.Result) {
			ev := boot.Event{Proto: "tftp", File: r.Name, Bytes: r.Bytes, Took: r.Took, Text: tftpText(r)}
			a.served(r.Remote.Addr(), ev)
		},
	}
	if a.uploads != nil {
		s.Uploads = &tftpupload.Receiver{Create: func(_ context.Context, r *tftp.Request) (io.WriteCloser, error) { return a.uploads.create(r.Name) }}
	}
	return s
}

// window is the widest TFTP window that the machine at an address takes, as far
// as its board is known; 0: any.
func (a *Appliance) window(from netip.Addr) int {
	mac, _ := a.who.get(from)
	facts, _ := a.heard.get(mac)
	if b, ok := board.ByName(facts.Board); ok {
		return b.Windowsize
	}
	return 0
}

// tftpLimits are those of the config, and a share of the files.
func (a *Appliance) tftpLimits() tftp.Limits {
	l := a.cfg.TFTPLimits
	l.Files = a.bounds.tftp.Files
	return l
}

// tftpText says how a transfer ended.
func tftpText(r tftp.Result) string {
	verb := "sent"
	if r.Write {
		verb = "took"
	}
	switch {
	case r.Probe:
		return "tftp: told the size of " + r.Name
	case r.Err != nil:
		return fmt.Sprintf("tftp: %s: %v, after %d bytes", r.Name, r.Err, r.Bytes)
	}
	text := fmt.Sprintf("tftp: %s %s, %d bytes in %v", verb, r.Name, r.Bytes, r.Took.Round(time.Millisecond))
	if n := r.Granted.Blksize; n > 0 {
		text += fmt.Sprintf(", blksize %d", n)
	}
	if n := r.Granted.Windowsize; n > 0 {
		text += fmt.Sprintf(", windowsize %d", n)
	}
	if d := r.Granted.Timeout; d > 0 {
		text += fmt.Sprintf(", timeout %d", d/time.Second)
	}
	if r.Resent > 0 {
		text += fmt.Sprintf(", %d packets again", r.Resent)
	}
	return text
}

func (a *Appliance) ftpServer() *ftp.Server {
	return &ftp.Server{
		Tree: a.tree, Log: a.log, Note: a.served, Limits: a.bounds.ftp,
		PassiveFrom: a.cfg.FTPPassive.From, PassiveTo: a.cfg.FTPPassive.To,
	}
}

func (a *Appliance) webServer() *web.Server {
	return &web.Server{
		Tree: a.tree, Journal: a.journal, Registry: a.registry,
		Verify: a.verify, Reported: a.reported, Control: a.control, Note: a.served,
		Token: a.controlToken, Log: a.log, Limits: a.bounds.http,
	}
}
