package agent

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/link"
)

// maxOffers bounds what is remembered of strangers' offers.
const maxOffers = 64

// A pick decides by the offers so far; see choose.
type pick func([]offer) (c choice, ok, sure bool)

// A discovery asks for an address on all links at once.
type discovery struct {
	*network
	iface  string // the only link, "" for all
	wg     sync.WaitGroup
	heard  chan offer
	ended  chan int     // index of a link on which asking has ended
	asking map[int]bool // by link index
}

// discover asks for addresses on all links at once until pick takes an offer.
// However long that takes: it says on the console what it waits for. iface
// restricts it to one link, "" is all.
func (n *network) discover(ctx context.Context, iface string, pick pick) (choice, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &discovery{network: n, iface: iface, heard: make(chan offer), ended: make(chan int), asking: map[int]bool{}}
	defer d.wg.Wait()
	defer cancel()
	d.askLinks(ctx)
	look := time.NewTicker(n.timing.LinkPoll)
	defer look.Stop()
	start, say := time.Now(), time.NewTicker(n.timing.Say)
	defer say.Stop()
	var offers []offer
	var collected <-chan time.Time
	late := false // Collect has passed
	for {
		select {
		case <-ctx.Done():
			return choice{}, fmt.Errorf("dhcp: %w", ctx.Err())
		case <-look.C:
			d.askLinks(ctx)
			continue
		case i := <-d.ended:
			delete(d.asking, i)
			continue
		case <-say.C:
			n.console.say("waiting for %s, %d s", waitingFor(iface, offers), int(time.Since(start).Seconds()))
			continue
		case <-collected:
			late = true
		case o := <-d.heard:
			if collected == nil {
				collected = time.After(n.timing.Collect)
			}
			offers = remember(offers, o, n.timing.OfferAge)
		}
		if c, ok, sure := pick(offers); ok && (sure || late) {
			return c, nil
		}
	}
}

// askLinks begins to ask on each link where nobody asks yet.
func (d *discovery) askLinks(ctx context.Context) {
	if err := link.Up(d.log, d.iface); err != nil {
		d.log.Warn("links", "err", err)
	}
	links, err := link.Links(d.iface)
	if err != nil {
		d.log.Warn("links", "err", err)
	}
	for _, l := range links {
		if d.asking[l.Index] {
			continue
		}
		d.asking[l.Index] = true
		d.wg.Go(func() {
			if err := guard(func() error { return d.ask(ctx, l) }); err != nil && ctx.Err() == nil {
				d.log.Warn("dhcp", "interface", l.Name, "err", err)
			}
			select {
			case d.ended <- l.Index: // and begins again with the next look at the links
			case <-ctx.Done():
			}
		})
	}
}

// ask sends DISCOVER on one link whenever it has a carrier. It passes on what
// comes back.
func (d *discovery) ask(ctx context.Context, l link.Link) error {
	start := time.Now()
	discover, err := dhcpv4.NewDiscovery(l.MAC[:], d.modifiers()...)
	if err != nil {
		return err
	}
	pass := func(m *dhcpv4.DHCPv4) bool {
		if m.MessageType() == dhcpv4.MessageTypeOffer {
			select {
			case d.heard <- offer{l, m, time.Now()}:
			case <-ctx.Done():
			}
		}
		return false // there may be more
	}
	wait := backoff{first: d.timing.Discover, most: d.timing.DiscoverMax}
	for ctx.Err() == nil {
		links, err := link.Links(l.Name)
		if err != nil {
			return err
		}
		if len(links) == 0 || links[0].Index != l.Index {
			return fmt.Errorf("%s is gone", l.Name)
		}
		if !links[0].Carrier {
			wait.reset() // whoever plugs in a cable looks at the screen
			sleep(ctx, d.timing.CarrierPoll)
			continue
		}
		discover.NumSeconds = uint16(min(time.Since(start).Seconds(), 0xffff))
		// A client a try: the library's ends for good when its link goes down.
		patience := wait.wait()
		c, err := nclient4.New(l.Name, nclient4.WithTimeout(patience), nclient4.WithRetry(1))
		if err != nil {
			return err
		}
		once, cancel := context.WithTimeout(ctx, patience)
		c.SendAndRead(once, c.RemoteAddr(), discover, pass) // its error is that no one was matched
		<-once.Done()                                       // it ends early where sending failed
		cancel()
		c.Close()
	}
	return ctx.Err()
}

// remember adds an offer, in place of the same server's earlier one. It drops
// those that have grown older than age.
func remember(offers []offer, o offer, age time.Duration) []offer {
	kept := offers[:0]
	found := false
	for _, p := range offers {
		switch {
		case p.same(o):
			kept, found = append(kept, o), true
		case o.at.Sub(p.at) < age:
			kept = append(kept, p)
		}
	}
	if !found && len(kept) < maxOffers {
		kept = append(kept, o)
	}
	return kept
}

func waitingFor(iface string, offers []offer) string {
	if m := missing(offers); m != "" {
		return "DHCP: " + m
	}
	links, _ := link.Links(iface)
	if len(links) == 0 {
		return "a network card: none has been found"
	}
	var with, without []string
	for _, l := range links {
		if l.Carrier {
			with = append(with, l.Name)
		} else {
			without = append(without, l.Name)
		}
	}
	if len(with) == 0 {
		return "a cable in " + strings.Join(without, ", ")
	}
	return "a DHCP answer on " + strings.Join(with, ", ")
}

// modifiers are what every packet of ours says of the machine.
func (n *network) modifiers() []dhcpv4.Modifier {
	m := []dhcpv4.Modifier{
		dhcpv4.WithUserClass(board.AgentUserClass, true), // RFC 3004
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(board.AgentVendorPrefix + n.machine.board)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionClassIdentifier),
	}
	if c := agentClient(runtime.GOARCH, isEFI()); c != board.ClientUnknown {
		m = append(m, dhcpv4.WithOption(dhcpv4.OptClientArch(iana.Arch(c))))
	}
	if u := n.machine.uuid; u != nil { // RFC 4578 section 2.3: type 0, then 16 bytes
		m = append(m, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, append([]byte{0}, u[:]...))))
	}
	return m
}

// agentClient is the option 93 that fits what started us.
func agentClient(goarch string, efi bool) board.Client {
	a, ok := board.ArchOf(goarch)
	if !ok {
		return board.ClientUnknown
	}
	return a.AgentClient(efi)
}

func isEFI() bool {
	_, err := os.Stat("/sys/firmware/efi")
	return err == nil
}

// productUUID is the SMBIOS UUID, nil where the machine has none to tell it by.
func productUUID() *boot.UUID {
	raw, err := os.ReadFile("/sys/class/dmi/id/product_uuid")
	if err != nil {
		return nil
	}
	u, err := boot.ParseUUID(strings.TrimSpace(string(raw)))
	if err != nil || !u.Known() {
		return nil
	}
	return &u
}

// sleep waits for d or until ctx ends, whichever is first.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
