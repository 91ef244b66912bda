package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/link"
)

// newOffer is one on a link: addr is offered ("" is none), server is option 54,
// next siaddr; class option 60.
func newOffer(index int, addr, server, next, class string) offer {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server))))
	if err != nil {
		panic(err)
	}
	if addr != "" {
		m.YourIPAddr = net.ParseIP(addr)
		m.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
	}
	if next != "" {
		m.ServerIPAddr = net.ParseIP(next)
	}
	if class != "" {
		m.UpdateOption(dhcpv4.OptClassIdentifier(class))
	}
	return offer{link: link.Link{Name: "eth" + string(rune('0'+index)), Index: index}, msg: m, at: time.Now()}
}

func TestChoose(t *testing.T) {
	plain := newOffer(0, "10.0.0.9", "10.0.0.1", "10.0.0.1", "")
	plainB := newOffer(1, "10.1.0.9", "10.1.0.1", "", "PXEClient")
	full := newOffer(0, "10.0.0.50", "10.0.0.2", "", board.ApplianceClass)
	proxy := newOffer(0, "", "10.0.0.2", "10.0.0.3", board.ApplianceClass)
	proxyB := newOffer(1, "", "10.1.0.2", "", board.ApplianceClass+" 1")
	hole := newOffer(0, "10.0.0.9", "10.0.0.1", "", "")
	hole.msg.UpdateOption(dhcpv4.OptSubnetMask(net.IPMask{255, 0, 255, 0}))
	addr := netip.MustParseAddr
	tests := []struct {
		name     string
		offers   []offer
		want     string // of the command line
		ok, sure bool
		yiaddr   string
		app      string
	}{
		{"none", nil, "", false, false, "", ""},
		{"no appliance", []offer{plain, plainB}, "", false, false, "", ""},
		{"no address", []offer{proxy}, "", false, false, "", ""},
		{"full", []offer{full}, "", true, true, "10.0.0.50", "10.0.0.2"},
		{"full is preferred, but another was first", []offer{plain, full}, "", true, false, "10.0.0.50", "10.0.0.2"},
		{"proxy before full", []offer{proxy, full}, "", true, true, "10.0.0.50", "10.0.0.2"},
		{"proxy", []offer{plain, proxy}, "", true, false, "10.0.0.9", "10.0.0.3"},
		{"proxy first", []offer{proxy, plain}, "", true, false, "10.0.0.9", "10.0.0.3"},
		{"address and appliance on different links", []offer{plain, proxyB}, "", false, false, "", ""},
		{"the link of the appliance", []offer{plain, plainB, proxyB}, "", true, false, "10.1.0.9", "10.1.0.2"},
		{"named, in the subnet", []offer{plain}, "10.0.0.77", true, true, "10.0.0.9", "10.0.0.77"},
		{"named, the subnet that holds it", []offer{plain, plainB}, "10.1.0.77", true, false, "10.1.0.9", "10.1.0.77"},
		{"named, behind a router", []offer{plain, plainB}, "192.0.2.1", true, false, "10.0.0.9", "192.0.2.1"},
		{"mask with holes", []offer{hole, proxy}, "", false, false, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want netip.Addr
			if tt.want != "" {
				want = addr(tt.want)
			}
			c, ok, sure := choose(tt.offers, want)
			if ok != tt.ok || sure != tt.sure {
				t.Fatalf("ok %v, sure %v; want %v, %v", ok, sure, tt.ok, tt.sure)
			}
			if ok && (!c.msg.YourIPAddr.Equal(net.ParseIP(tt.yiaddr)) || c.appliance != addr(tt.app)) {
				t.Errorf("chose %s and appliance %s, want %s and %s", c.msg.YourIPAddr, c.appliance, tt.yiaddr, tt.app)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	plain, proxy := newOffer(0, "10.0.0.9", "10.0.0.1", "", ""), newOffer(0, "", "10.0.0.2", "", board.ApplianceClass)
	elsewhere := newOffer(1, "10.1.0.9", "10.0.0.3", "", "")
	for _, tt := range []struct {
		name   string
		offers []offer
		want   string
	}{
		{"nothing was heard", nil, ""},
		{"no appliance", []offer{plain}, "10.0.0.1 offers 10.0.0.9 on eth0, but no appliance answers"},
		{"no address", []offer{proxy}, "appliance 10.0.0.2 answers on eth0, but nobody offers an address there"},
		{"address on another link", []offer{proxy, elsewhere}, "appliance 10.0.0.2 answers on eth0, but 10.0.0.3 offers 10.1.0.9 on eth1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := missing(tt.offers); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestRemember(t *testing.T) {
	o := newOffer(0, "10.0.0.9", "10.0.0.1", "", "")
	const age = time.Minute
	offers := remember(nil, o, age)
	newer := newOffer(0, "10.0.0.10", "10.0.0.1", "", "")
	if offers = remember(offers, newer, age); len(offers) != 1 || !offers[0].msg.YourIPAddr.Equal(net.IPv4(10, 0, 0, 10)) {
		t.Errorf("one server's later offer does not replace its earlier one: %v", offers)
	}
	for i := range 3 * maxOffers {
		offers = remember(offers, newOffer(i, "10.0.0.9", "10.0.0.1", "", ""), age)
	}
	if len(offers) > maxOffers {
		t.Errorf("%d offers are kept", len(offers))
	}
	late := newOffer(9999, "10.0.0.9", "10.0.0.1", "", "")
	late.at = late.at.Add(age + time.Second)
	if offers = remember(offers, late, age); len(offers) != 1 {
		t.Errorf("%d offers are kept that nobody will honour", len(offers)-1)
	}
}

func TestClient(t *testing.T) {
	for _, tt := range []struct {
		arch string
		efi  bool
		want board.Client
	}{
		{"amd64", false, board.ClientBIOS}, {"amd64", true, board.ClientUEFIx64}, {"arm64", true, board.ClientUEFIarm64},
		{"arm64", false, board.ClientUBootArm64}, {"arm", false, board.ClientUBootArm}, {"mips", false, board.ClientUnknown},
	} {
		t.Run(fmt.Sprintf("%s efi=%v", tt.arch, tt.efi), func(t *testing.T) {
			if got := agentClient(tt.arch, tt.efi); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// The arithmetic of Timing's comment.
func TestTiming(t *testing.T) {
	d := DefaultTiming
	b := backoff{first: d.Discover, most: d.DiscoverMax}
	var at time.Duration
	var got []time.Duration
	for range 8 {
		got = append(got, at)
		at += b.longest()
	}
	for i, want := range []time.Duration{0, 1, 3, 7, 15, 23, 31, 39} {
		if got[i] != want*time.Second {
			t.Errorf("DISCOVER %d leaves at %v, want %v s", i, got[i], int(want))
		}
	}
	if worst := d.DiscoverMax + 3*time.Second + d.Collect; worst != 14*time.Second {
		t.Errorf("after the port opens it takes %v", worst)
	}
	var request time.Duration
	for i := range d.Requests {
		request += d.Request << i
	}
	if request != 14*time.Second || request >= d.OfferAge {
		t.Errorf("requests take %v", request)
	}
	for range 1000 {
		b := backoff{first: time.Second, most: 5 * time.Second}
		for _, longest := range []time.Duration{1, 2, 4, 5, 5} {
			if w := b.wait(); w < longest*time.Second/2 || w > longest*time.Second {
				t.Fatalf("wait %v, want %v s at most and half of that at least", w, int(longest))
			}
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	const raw = "MemTotal:       24686132 kB\nMemFree:  1 kB\nMemAvailable:   24251020 kB\nBad: x kB\n"
	if got, err := parseMeminfo(raw, "MemAvailable"); err != nil || got != 24251020<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, key := range []string{"Mem", "Bad", "HugePages"} {
		t.Run(key, func(t *testing.T) {
			if got, err := parseMeminfo(raw, key); err == nil {
				t.Errorf("got %d", got)
			}
		})
	}
}

func TestFits(t *testing.T) {
	total, err := memory("MemTotal")
	if err != nil {
		t.Fatal(err)
	}
	p := &boot.Plan{Kernel: &boot.File{Size: 1 << 20}, Initrd: &boot.File{Size: 1 << 20}}
	if err := fits(p); err != nil {
		t.Error(err)
	}
	// What is free changes from one look to the next, and is never all.
	p.Initrd.Size = total / 2
	if err := fits(p); err == nil || !strings.Contains(err.Error(), "of memory") {
		t.Errorf("half of the memory: %v", err)
	}
	p.Initrd.Size = -1 << 40
	if err := fits(p); err == nil {
		t.Error("a negative size fits")
	}
}

// Lines and bars do not run into each other.
func TestScreen(t *testing.T) { synctest.Test(t, testScreen) }

func testScreen(t *testing.T) {
	var out bytes.Buffer
	s := &console{w: &out}
	s.Write([]byte("one\n"))
	s.draw(false, func() string { return "#.." })
	time.Sleep(barEvery - 1)
	s.draw(false, func() string { return "##." }) // too soon
	s.draw(true, func() string { return "###" })
	s.Write([]byte("two\n"))
	s.Write([]byte("three\n"))
	if want := "one\n\r#..\r###\ntwo\nthree\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestCarried(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change pull.Attempt
		want   string
	}{
		{"whole", pull.Attempt{Proto: "ftp", To: 4096, Took: 2 * time.Second}, "ftp carried x, 4.0 KiB in 2s"},
		{"the rest", pull.Attempt{Proto: "http", From: 5, To: 9, Took: 2 * time.Second}, "http carried x from byte 5 to its end at 9, in 2s"},
		{"nothing", pull.Attempt{Proto: "tftp", From: 5, To: 5, Err: errors.New("timeout")}, "tftp carried nothing of x: timeout"},
		{"a part", pull.Attempt{Proto: "tftp", To: 5, Err: errors.New("reset")}, "tftp carried x from byte 0 to 5, then: reset"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := carried("x", tt.change); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestRunWantsALink(t *testing.T) {
	if err := Run(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "named") {
		t.Errorf("error %v", err)
	}
}

// A server that says when to renew does not make us ask without a pause.
func TestRenewal(t *testing.T) {
	const term = time.Hour
	for _, tt := range []struct{ t1, want time.Duration }{{0, term / 2}, {time.Minute, time.Minute}, {term, term / 2}, {2 * term, term / 2}} {
		t.Run(fmt.Sprint("T1 ", tt.t1), func(t *testing.T) {
			m, err := dhcpv4.New(dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRenewTimeValue, Value: dhcpv4.Duration(tt.t1)}))
			if err != nil {
				t.Fatal(err)
			}
			if got := renewal(m, term); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
