//go:build qemu

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/nettest"
)

// A lan is an appliance in a network namespace of its own, and a cable for one
// machine at a time. The appliance is the program itself, which takes less
// processor time than one in QEMU.
type lan struct {
	ns   *nettest.NS
	root string // what the appliance serves
	dir  string
	end  lab.End

	// frame may change what the machine sends. nil changes nothing.
	frame atomic.Pointer[func([]byte)]

	ready, over chan struct{} // closed when the appliance serves, and has ended

	mu     sync.Mutex
	events []boot.Event
	log    []string
}

// lanConfig is the config of an appliance without profiles. More may follow it.
const lanConfig = `log: json
dhcp:
  mode: full
  subnets: [{net: 10.77.0.0/24, pool: ` + machinePool + `, lease: 1h}]
`

// newLAN starts an appliance that serves what was prepared. serving waits for it.
func newLAN(t *testing.T, config string) *lan {
	t.Helper()
	prepare(t)
	return newLANOf(t, made.root, config)
}

// newLANOf starts an appliance that serves a root.
func newLANOf(t *testing.T, root, config string) *lan {
	t.Helper()
	l := newCable(t, root)
	l.start(t, config)
	return l
}

// newCable makes a lan on which nobody serves yet.
func newCable(t *testing.T, root string) *lan {
	t.Helper()
	nettest.NeedRoot(t)
	prepare(t) // the program
	l := &lan{root: root, ready: make(chan struct{}), over: make(chan struct{})}
	l.ns, _ = nettest.Pair(t, "", "")
	var err error
	if l.dir, err = os.MkdirTemp("", "lan"); err != nil { // short, for sockets
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(l.dir) })
	l.cable(t)
	return l
}

// start starts the appliance.
func (l *lan) start(t *testing.T, config string) {
	t.Helper()
	file := filepath.Join(l.dir, "bootlace.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := l.ns.Command(t, made.program, "serve", "--root", l.root, "--state", filepath.Join(l.dir, "state"),
		"--config", file, "--interface", "tap0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	// It is killed when this process ends, however it ends.
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	begun := make(chan error)
	go func() {
		// Pdeathsig kills when the thread that forked ends, so that must stay.
		runtime.LockOSThread()
		err := cmd.Start()
		begun <- err
		if err != nil {
			return
		}
		l.read(stderr)
		cmd.Wait()
		close(l.over)
	}()
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		<-l.over
		if t.Failed() {
			t.Logf("the appliance:\n%s", strings.Join(l.log, "\n"))
		}
	})
}

// read takes the appliance's log to its end.
func (l *lan) read(log io.Reader) {
	for s := bufio.NewScanner(log); s.Scan(); {
		if servingLine.Match(s.Bytes()) {
			close(l.ready)
		}
		l.mu.Lock()
		l.log = append(l.log, s.Text())
		if ev, ok := journal.ParseLine(s.Bytes()); ok {
			l.events = append(l.events, ev)
		}
		l.mu.Unlock()
	}
}

// serving waits until the appliance answers.
func (l *lan) serving(t *testing.T) {
	t.Helper()
	select {
	case <-l.ready:
	case <-l.over:
		t.Fatalf("the appliance ended:\n%s", strings.Join(l.log, "\n"))
	case <-time.After(patience):
		t.Fatal("the appliance does not serve")
	}
}

// cable joins a tap device of the namespace to the end for a machine. The tap has
// the appliance's address.
func (l *lan) cable(t *testing.T) {
	t.Helper()
	var fd int
	var err error
	l.ns.Do(t, func() {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		var req *unix.Ifreq
		if req, err = unix.NewIfreq("tap0"); err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
	})
	if err != nil {
		nettest.Skip(t, "no tap: "+err.Error())
	}
	for _, args := range []string{"addr add 10.77.0.1/24 dev tap0", "link set tap0 up"} {
		cmd := exec.Command(nettest.Need(t, "ip"), append([]string{"-n", l.ns.Name}, strings.Fields(args)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	tap := os.NewFile(uintptr(fd), "tap0")
	sw, ends, err := lab.NewSwitch(l.dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	l.end = ends[0]
	sw.Pass = func(_ int, frame []byte) bool {
		if f := l.frame.Load(); f != nil {
			(*f)(frame)
		}
		tap.Write(frame)
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { sw.Run(ctx) })
	wg.Go(func() {
		frame := make([]byte, 1<<16)
		for {
			n, err := tap.Read(frame)
			if err != nil {
				return
			}
			sw.Send(-1, frame[:n])
		}
	})
	t.Cleanup(func() { cancel(); tap.Close(); wg.Wait() })
}

// since returns the events after the first n, and how many there are in all.
func (l *lan) since(n int) ([]boot.Event, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]boot.Event(nil), l.events[n:]...), len(l.events)
}

// waitEvent waits for an event of a kind after the first n.
func (l *lan) waitEvent(t *testing.T, n int, kind boot.Kind) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		events, _ := l.since(n)
		if slices.ContainsFunc(events, func(ev boot.Event) bool { return ev.Kind == kind }) {
			return
		}
	}
	t.Fatalf("the appliance did not hear of %q", kind)
}

// plainROM makes QEMU's iPXE look like a plain PXE ROM in DHCP, until it has asked
// for a network boot program.
func (l *lan) plainROM() {
	f := func(frame []byte) {
		port, payload := udp(frame)
		switch {
		case port == 69 && bytes.Contains(payload, []byte("undionly.kpxe")):
			l.frame.Store(nil)
		case port == 67:
			blank(payload, 77, 175)
			clear(frame[len(frame)-len(payload)-2:][:2]) // UDP's checksum: none
		}
	}
	l.frame.Store(&f)
}

// udp returns the destination port and payload of an Ethernet frame with UDP
// over IPv4.
func udp(f []byte) (port uint16, payload []byte) {
	if len(f) < 34 || f[12] != 8 || f[13] != 0 || f[23] != unix.IPPROTO_UDP {
		return 0, nil
	}
	f = f[14+4*int(f[14]&15):]
	if len(f) < 8 {
		return 0, nil
	}
	return uint16(f[2])<<8 | uint16(f[3]), f[8:]
}

// blank overwrites DHCP options by pads.
func blank(dhcp []byte, codes ...byte) {
	const options = 240
	for i := options; i+1 < len(dhcp) && dhcp[i] != 255; {
		if dhcp[i] == 0 {
			i++
			continue
		}
		end := min(i+2+int(dhcp[i+1]), len(dhcp))
		if bytes.IndexByte(codes, dhcp[i]) >= 0 {
			clear(dhcp[i:end])
		}
		i = end
	}
}
