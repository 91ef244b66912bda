//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

// Names of the servers. What is compared is compared with ours.
const (
	ours   = "bootlace"
	hpa    = "tftpd-hpa"
	atftpd = "atftpd"
	masq   = "dnsmasq"
	ftpd   = "vsftpd"
)

// peers are the TFTP servers to compare with.
var peers = []string{hpa, atftpd, masq}

// commandLine is how a server is started to serve r.root at an address. It runs
// in the foreground, silent, and without limits that the bench's loads would meet.
func (b *bench) commandLine(r *rig, name string, at netip.Addr) []string {
	switch name {
	case ours:
		return []string{b.bootlace, "serve", "--root", r.root, "--state", filepath.Join(r.dir, "state"), "--interface", "eth0",
			"--dhcp", "off", "--ftp", "off", "--http", "off", "--tftp", at.String() + ":69"}
	case hpa:
		return []string{"in.tftpd", "-L", "-4", "-a", at.String() + ":69", "-s", r.root}
	case atftpd:
		// Its select(2) ends it with the first descriptor above 1023.
		return []string{"prlimit", "--nofile=1024", b.atftpd, "--daemon", "--no-fork", "--user", "nobody.nogroup", "--bind-address", at.String(),
			"--maxthread", "20000", "--tftpd-timeout", "86400", "--verbose=0", "--logfile", "/dev/null", "--pidfile", filepath.Join(r.dir, "atftpd.pid"), r.root}
	case masq:
		return []string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--port=0", "--user=nobody", "--bind-interfaces", "--listen-address", at.String(),
			"--enable-tftp", "--tftp-root", r.root, "--tftp-max=20000", "--quiet-tftp", "--log-facility=/dev/null"}
	case ftpd:
		return []string{"vsftpd", filepath.Join(r.dir, "vsftpd.conf")}
	}
	panic("no server " + name)
}

func vsftpdConf(r *rig, at netip.Addr) []byte {
	return []byte(strings.Join([]string{"listen=YES", "listen_address=" + at.String(), "background=NO", "anonymous_enable=YES", "local_enable=NO", "anon_root=" + r.root,
		"no_anon_password=YES", "secure_chroot_dir=" + filepath.Join(r.dir, "empty"), "seccomp_sandbox=NO", "isolate_network=NO", "isolate=NO", "xferlog_enable=NO"}, "\n") + "\n")
}

// A serving is a server at work.
type serving struct {
	*meter
	at     netip.Addr
	cmd    *exec.Cmd
	said   bytes.Buffer
	ended  chan struct{}
	closed bool
}

// serve starts a server afresh, and returns when it answers.
func (b *bench) serve(ctx context.Context, name string) (*serving, error) {
	n := int(b.served.Add(1))
	s := &serving{ended: make(chan struct{}), at: serverAddr(n % servers)}
	line := b.commandLine(b.rig, name, s.at)
	if name == ftpd {
		if err := os.WriteFile(line[1], vsftpdConf(b.rig, s.at), 0o600); err != nil {
			return nil, err
		}
	}
	var err error
	if s.meter, err = newMeter(filepath.Join(b.rig.cgroups, fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), n))); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(line[0], line[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	s.cmd.WaitDelay = time.Second // for the output that children hold open
	if err := b.rig.start(b.rig.server, s.cmd, s.fd); err != nil {
		s.meter.close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { s.cmd.Wait(); close(s.ended) }()
	s.watch()
	if err := b.await(ctx, s, name); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, bytes.TrimSpace(s.said.Bytes()))
	}
	return s, nil
}

// await waits until a server answers.
func (b *bench) await(ctx context.Context, s *serving, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ready := func() error {
		if err := inNS(b.rig.server, func() error { return bound(s.at) }); err != nil {
			return err
		}
		return inNS(b.rig.client, func() error { return b.probe(ctx, s.at) })
	}
	if name == ftpd {
		ready = func() error { return inNS(b.rig.client, func() error { return dial(s.at) }) }
	}
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func dial(at netip.Addr) error {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(at, 21).String(), time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// bound returns nil when a server in the thread's namespace has an address's
// port 69. A request that came before would be lost. The next one is a second
// later.
func bound(at netip.Addr) error {
	sockets, err := os.ReadFile("/proc/thread-self/net/udp")
	if err != nil {
		return err
	}
	a := at.As4()
	if !bytes.Contains(sockets, fmt.Appendf(nil, ": %08X:0045 ", binary.NativeEndian.Uint32(a[:]))) {
		return errors.New("no socket has its address")
	}
	return nil
}

// probe fetches a file of one byte.
func (b *bench) probe(ctx context.Context, at netip.Addr) error {
	want, err := os.ReadFile(filepath.Join(b.rig.root, "1"))
	if err != nil {
		return err
	}
	r, err := single(ctx, &options{server: netip.AddrPortFrom(at, 69), name: "1", want: want, blksize: conformance.DefaultBlksize, windowsize: 1, timeout: time.Second, tries: 10, patience: 10 * time.Second})
	if err == nil && r.Bytes == 0 {
		err = fmt.Errorf("probe: %v", r.Failed)
	}
	return err
}

// died reports whether the server ended by itself.
func (s *serving) died() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// stop ends the server and all that it started.
func (s *serving) stop() {
	if s.closed {
		return
	}
	s.closed = true
	s.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(2 * time.Second):
	}
	s.meter.close()
	<-s.ended
}
