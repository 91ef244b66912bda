package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A relay asks by DHCP in the name of many machines. It sends from an address of
// its own. Answers come back to it by unicast, whoever they are for.
type relay struct {
	*rig
	conn *net.UDPConn
}

func newRelay(t *testing.T, dhcp string) *relay {
	t.Helper()
	b := &relay{rig: newRig(t)}
	if dhcp != "" {
		b.dhcp = dhcp
	}
	b.addr()
	b.config("")
	return b
}

// addr gives the machines' end its address and opens the socket.
func (b *relay) addr() {
	b.t.Helper()
	b.ip(b.far, "addr", "add", "10.9.0.50/24", "dev", "eth0")
	b.far.Do(b.t, func() {
		var err error
		if b.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 9, 0, 50), Port: 67}); err != nil {
			b.t.Fatal(err)
		}
	})
	b.t.Cleanup(func() { b.conn.Close() })
}

func (b *relay) ip(ns *nettest.NS, args ...string) {
	b.t.Helper()
	if out, err := exec.Command(nettest.Need(b.t, "ip"), append([]string{"-n", ns.Name}, args...)...).CombinedOutput(); err != nil {
		b.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// message is one of machine n. want is the address it asks for.
func (b *relay) message(mt dhcpv4.MessageType, n int, want netip.Addr) *dhcpv4.DHCPv4 {
	b.t.Helper()
	hw := net.HardwareAddr{2, 9, 0, 0, byte(n >> 8), byte(n)}
	p, err := dhcpv4.New(dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(mt), dhcpv4.WithRelay(net.IPv4(10, 9, 0, 50)),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(bytes.Repeat([]byte{1}, 250))))
	if err != nil {
		b.t.Fatal(err)
	}
	if want.IsValid() {
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(want.AsSlice()))
	}
	return p
}

// try sends a message, and returns the answer if one comes in a while.
func (b *relay) try(p *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	b.t.Helper()
	if _, err := b.conn.WriteTo(p.ToBytes(), &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 67}); err != nil {
		b.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for b.conn.SetReadDeadline(time.Now().Add(700 * time.Millisecond)); ; {
		n, err := b.conn.Read(buf)
		if err != nil {
			return nil
		}
		if a, err := dhcpv4.FromBytes(buf[:n]); err == nil && a.TransactionID == p.TransactionID {
			return a
		}
	}
}

// ask sends a message of machine n until it is answered.
func (b *relay) ask(mt dhcpv4.MessageType, n int, want netip.Addr) (answer *dhcpv4.DHCPv4) {
	b.t.Helper()
	p := b.message(mt, n, want)
	eventually(b.t, fmt.Sprintf("the %v of machine %d is answered", mt, n), func() bool {
		answer = b.try(p)
		return answer != nil
	})
	return answer
}

// lease gets machine n an address.
func (b *relay) lease(n int) netip.Addr {
	b.t.Helper()
	offer := b.ask(dhcpv4.MessageTypeDiscover, n, netip.Addr{})
	addr, _ := netip.AddrFromSlice(offer.YourIPAddr.To4())
	b.acked(n, addr)
	return addr
}

func (b *relay) acked(n int, addr netip.Addr) {
	b.t.Helper()
	if a := b.ask(dhcpv4.MessageTypeRequest, n, addr); a.MessageType() != dhcpv4.MessageTypeAck || a.YourIPAddr.String() != addr.String() {
		b.t.Errorf("machine %d asked for %s: %v", n, addr, a)
	}
}

// api reads the events that anyone on the LAN can read, until one says this.
func (b *relay) api(want string) string {
	b.t.Helper()
	var out bytes.Buffer
	eventually(b.t, "the events say "+want, func() bool {
		out.Reset()
		b.far.Do(b.t, func() {
			conn, err := net.Dial("tcp", "10.9.0.1:80")
			if err != nil {
				b.t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /api/events?since=0 HTTP/1.0\r\n\r\n")
			conn.SetReadDeadline(time.Now().Add(hangGuard))
			buf := make([]byte, 4096)
			for !strings.Contains(out.String(), want) {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				out.Write(buf[:n])
			}
		})
		return strings.Contains(out.String(), want)
	})
	if status, _, _ := strings.Cut(out.String(), "\r\n"); !strings.Contains(status, fmt.Sprint(http.StatusOK)) {
		b.t.Fatalf("events: %s", status)
	}
	return out.String()
}

// A power cut in mid-lease. What was acknowledged holds. What was only offered
// can still be had.
func TestKilledInMidLease(t *testing.T) {
	b := newRelay(t, "")
	b.start()
	first := b.lease(1)
	offer := b.ask(dhcpv4.MessageTypeDiscover, 2, netip.Addr{})
	b.serve.kill()
	b.start()
	if a := b.ask(dhcpv4.MessageTypeRequest, 3, first); a.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("another machine asked for %s: %v", first, a)
	}
	b.acked(1, first)
	second, _ := netip.AddrFromSlice(offer.YourIPAddr.To4())
	b.acked(2, second)
}

// The state's disk is full. Nobody is told of a lease that is not kept. What the
// disk says stays here. Once there is room all goes on.
func TestLeaseOnAFullDisk(t *testing.T) {
	b := newRelay(t, "")
	smallDisk(t, b.state)
	b.start()
	fill := filepath.Join(b.state, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, byte(100 + n)}) }
	const full = "no space left on device"
	kept := 0 // the file has some room of its own
	for kept < 11 {
		p := b.message(dhcpv4.MessageTypeRequest, kept, addr(kept))
		answered := false
		eventually(t, fmt.Sprintf("machine %d has an answer, or the disk is full", kept), func() bool {
			answered = b.try(p) != nil
			return answered || strings.Contains(b.serve.text(), full)
		})
		if !answered {
			break
		}
		kept++
	}
	if kept == 11 {
		t.Fatal("no lease needs room on the disk")
	}
	if said := b.api("no address: the appliance could not store it; its log says why"); strings.Contains(said, b.state) || strings.Contains(said, "space left") {
		t.Errorf("anyone can read %s", said)
	}
	b.serve.wait(full)
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	for n := range kept + 1 {
		b.acked(n, addr(n))
	}
}

// Strangers take the whole pool. Who has an address keeps it. Who has one
// reserved gets it. The appliance neither grows nor writes much.
func TestPoolTakenByStrangers(t *testing.T) {
	b := newRelay(t, `{mode: full, subnets: [{net: 10.9.0.0/24, pool: 10.9.0.100-10.9.0.110}], hosts: [{mac: "02:09:00:00:00:02", ip: 10.9.0.105}]}`)
	b.start()
	known := b.lease(1)
	for n := range 11 {
		b.try(b.message(dhcpv4.MessageTypeRequest, 1000+n, netip.AddrFrom4([4]byte{10, 9, 0, byte(100 + n)})))
	}
	for n := range 5000 { // more MACs than anything remembers
		p, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 10, 0, 0, byte(n >> 8), byte(n)}, dhcpv4.WithRelay(net.IPv4(10, 9, 0, 50)),
			dhcpv4.WithOption(dhcpv4.OptClientIdentifier(bytes.Repeat([]byte{1}, 250))))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.conn.WriteTo(p.ToBytes(), &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 67}); err != nil {
			t.Fatal(err)
		}
		if n%20 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	if a := b.try(b.message(dhcpv4.MessageTypeDiscover, 7000, netip.Addr{})); a != nil {
		t.Errorf("one more is offered %s", a.YourIPAddr)
	}
	b.acked(1, known)
	if got := b.lease(2); got.String() != "10.9.0.105" {
		t.Errorf("the host with an address of its own got %s", got)
	}
	b.api("pool exhausted: every address of 10.9.0.100-10.9.0.110 is taken")
	db, err := os.Stat(filepath.Join(b.state, "bootlace.db"))
	if err != nil || db.Size() > 256<<10 {
		t.Errorf("the store has %d bytes, %v", db.Size(), err)
	}
	if kb := b.rss(); kb > 64<<10 {
		t.Errorf("the appliance takes %d kB", kb)
	}
}

// rss is what the appliance has in memory, in kB.
func (b *relay) rss() int {
	b.t.Helper()
	// `ip netns exec` became the program itself.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.serve.cmd.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return kb
}

// The network card is unplugged and comes back, as one on USB may. The kernel
// takes it for another.
func TestCardPluggedInAgain(t *testing.T) {
	b := newRelay(t, "")
	b.start()
	first := b.lease(1)
	b.conn.Close()
	b.ip(b.appliance, "link", "del", "eth0")
	b.serve.wait("nobody is answered")
	b.ip(b.appliance, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.far.Name)
	b.ip(b.appliance, "link", "set", "eth0", "up")
	b.ip(b.far, "link", "set", "eth0", "up")
	b.addr()
	time.Sleep(3 * time.Second) // time to take it for good, though it has no address yet
	b.ip(b.appliance, "addr", "add", "10.9.0.1/24", "dev", "eth0")
	request := b.message(dhcpv4.MessageTypeRequest, 1, first)
	eventually(t, "machines are answered on the card that came back", func() bool {
		a := b.try(request)
		return a != nil && a.MessageType() == dhcpv4.MessageTypeAck
	})
}

// Somebody fills the upload folder's disk. All hear that it is full, and nothing
// of where it is.
func TestUploadOnAFullDisk(t *testing.T) {
	b := newRelay(t, "")
	up := filepath.Join(t.TempDir(), "uploads")
	smallDisk(t, up)
	b.config("upload: " + up + "\n")
	b.start()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := b.far.Command(t, binary, "put", file, "tftp://10.9.0.1/x").CombinedOutput()
	if err == nil {
		t.Fatalf("1 MiB went to a disk of 256 KiB: %s", out)
	}
	for who, said := range map[string]string{"the client": string(out), "anyone": b.api("no space left on device, after")} {
		if strings.Contains(said, up) || strings.Contains(said, "x.part") {
			t.Errorf("%s is told of the host: %s", who, said)
		}
	}
	if left, err := os.ReadDir(up); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// smallDisk makes a folder that is a disk of 256 KiB.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
}
