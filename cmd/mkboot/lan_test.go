//go:build qemu

package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/board/lab"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/journal"
	"github.com/bootlace/bootlace/boot/nettest"
)

// A lan is an appliance, the program itself in a namespace of its own, and a
// cable for one machine at a time. It takes no processor from the machine.
type lan struct {
	end lab.End

	// frame, where set, may change what the machine sends.
	frame atomic.Pointer[func([]byte)]

	mu     sync.Mutex
	events []boot.Event
	log    []string
}

// newLAN starts an appliance with a config over a root.
func newLAN(t *testing.T, root, config string) *lan {
	t.Helper()
	ns, _ := nettest.Pair(t, "", "")
	dir, err := os.MkdirTemp("", "lan") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lan{}
	l.cable(t, ns, dir)

	program := filepath.Join(dir, "bootlace")
	if out, err := exec.Command("go", "build", "-o", program, "../bootlace").CombinedOutput(); err != nil {
		t.Fatalf("build the appliance: %v\n%s", err, out)
	}
	file := filepath.Join(dir, "bootlace.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(t, program, "serve", "--root", root, "--state", filepath.Join(dir, "state"),
		"--config", file, "--interface", "tap0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if servingLine.Match(s.Bytes()) {
				close(serving)
			}
			l.mu.Lock()
			l.log = append(l.log, s.Text())
			if ev, ok := journal.ParseLine(s.Bytes()); ok {
				l.events = append(l.events, ev)
			}
			l.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		<-read
		cmd.Wait()
		if t.Failed() {
			t.Logf("the appliance:\n%s", strings.Join(l.log, "\n"))
		}
	})
	select {
	case <-serving:
	case <-read:
		t.Fatalf("the appliance ended:\n%s", strings.Join(l.log, "\n"))
	case <-time.After(time.Minute):
		t.Fatal("the appliance does not serve")
	}
	return l
}

// cable joins a tap of the namespace, with the appliance's address, to the end
// that is for a machine.
func (l *lan) cable(t *testing.T, ns *nettest.NS, dir string) {
	t.Helper()
	var fd int
	var err error
	ns.Do(t, func() {
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
		cmd := exec.Command(nettest.Need(t, "ip"), append([]string{"-n", ns.Name}, strings.Fields(args)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	tap := os.NewFile(uintptr(fd), "tap0")
	sw, ends, err := lab.NewSwitch(dir, 1)
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

// since returns what the journal heard after the first n events, and how many
// there are.
func (l *lan) since(n int) ([]boot.Event, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]boot.Event(nil), l.events[n:]...), len(l.events)
}

// plainROM makes of QEMU's iPXE ROM one that is not iPXE, as far as DHCP goes,
// until it has asked for a network boot program.
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
