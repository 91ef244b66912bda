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

const (
	// maxOffers bounds what is remembered of strangers' offers.
	maxOffers = 64
	// offerAge: servers keep an offered address for the client for some 30 to 60 s.
	offerAge = 30 * time.Second
	// linkPoll finds cards whose drivers took their time.
	linkPoll = time.Second
)

// A pick decides by the offers so far; see choose.
type pick func([]offer) (c choice, ok, sure bool)

// discover asks for addresses on all links at once until pick takes an offer,
// however long that takes. It says on the console what it waits for. iface
// restricts it to one link, "" is all.
func (s *Session) discover(ctx context.Context, iface string, pick pick) (choice, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	heard := make(chan offer)
	ended := make(chan int)
	asking := map[int]bool{} // by link index
	ask := func() {
		if err := link.Up(s.Log, iface); err != nil {
			s.Log.Warn("links", "err", err)
		}
		links, err := link.Links(iface)
		if err != nil {
			s.Log.Warn("links", "err", err)
		}
		for _, l := range links {
			if asking[l.Index] {
				continue
			}
			asking[l.Index] = true
			wg.Go(func() {
				if err := guard(func() error { return s.ask(ctx, l, heard) }); err != nil && ctx.Err() == nil {
					s.Log.Warn("dhcp", "link", l.Name, "err", err)
				}
				select {
				case ended <- l.Index: // and begins again with the next look at the links
				case <-ctx.Done():
				}
			})
		}
	}
	ask()
	look := time.NewTicker(linkPoll)
	defer look.Stop()
	start, say := time.Now(), time.NewTicker(s.timing.Say)
	defer say.Stop()
	var offers []offer
	var collected <-chan time.Time
	late := false // Collect has passed
	for {
		select {
		case <-ctx.Done():
			return choice{}, fmt.Errorf("dhcp: %w", ctx.Err())
		case <-look.C:
			ask()
			continue
		case i := <-ended:
			delete(asking, i)
			continue
		case <-say.C:
			s.say("waiting for %s, %d s", waitingFor(iface, offers), int(time.Since(start).Seconds()))
			continue
		case <-collected:
			late = true
		case o := <-heard:
			if collected == nil {
				collected = time.After(s.timing.Collect)
			}
			offers = remember(offers, o)
		}
		if c, ok, sure := pick(offers); ok && (sure || late) {
			return c, nil
		}
	}
}

// remember adds an offer, in place of the same server's earlier one, and drops
// those that have grown old.
func remember(offers []offer, o offer) []offer {
	kept := offers[:0]
	found := false
	for _, p := range offers {
		switch {
		case p.same(o):
			kept, found = append(kept, o), true
		case o.at.Sub(p.at) < offerAge:
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

// ask sends DISCOVER on one link whenever it has a carrier, and passes on what
// comes back.
func (s *Session) ask(ctx context.Context, l link.Link, heard chan<- offer) error {
	start := time.Now()
	discover, err := dhcpv4.NewDiscovery(l.MAC[:], s.modifiers()...)
	if err != nil {
		return err
	}
	pass := func(m *dhcpv4.DHCPv4) bool {
		if m.MessageType() == dhcpv4.MessageTypeOffer {
			select {
			case heard <- offer{l, m, time.Now()}:
			case <-ctx.Done():
			}
		}
		return false // there may be more
	}
	wait := backoff{first: s.timing.Discover, most: s.timing.DiscoverMax}
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
			sleep(ctx, 200*time.Millisecond)
			continue
		}
		discover.NumSeconds = uint16(min(time.Since(start).Seconds(), 0xffff))
		// A client a try: the library's ends for good when its link goes down.
		d := wait.wait()
		c, err := nclient4.New(l.Name, nclient4.WithTimeout(d), nclient4.WithRetry(1))
		if err != nil {
			return err
		}
		once, cancel := context.WithTimeout(ctx, d)
		c.SendAndRead(once, c.RemoteAddr(), discover, pass) // its error is that no one was matched
		<-once.Done()                                       // it ends early where sending failed
		cancel()
		c.Close()
	}
	return ctx.Err()
}

// modifiers are what every packet of ours says of the machine.
func (s *Session) modifiers() []dhcpv4.Modifier {
	m := []dhcpv4.Modifier{
		dhcpv4.WithUserClass(board.AgentUserClass, true), // RFC 3004
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(board.AgentVendorPrefix + s.Board)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionClassIdentifier),
	}
	if c := agentClient(runtime.GOARCH, isEFI()); c != board.ClientUnknown {
		m = append(m, dhcpv4.WithOption(dhcpv4.OptClientArch(iana.Arch(c))))
	}
	if u := s.uuid; u != nil { // RFC 4578 section 2.3: type 0, then 16 bytes
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
