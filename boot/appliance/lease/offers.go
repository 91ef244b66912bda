package lease

import (
	"container/list"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot"
)

// offers are the addresses that were offered and not taken yet, the most
// recent first. Their number is bounded, and the oldest goes.
type offers struct {
	max    int
	order  *list.List // of offer
	byAddr map[netip.Addr]*list.Element
	byMAC  map[boot.MAC]*list.Element
}

type offer struct {
	addr  netip.Addr
	mac   boot.MAC
	until time.Time
}

func newOffers(max int) *offers {
	return &offers{max: max, order: list.New(), byAddr: map[netip.Addr]*list.Element{}, byMAC: map[boot.MAC]*list.Element{}}
}

// put replaces what was offered to the MAC, and to whom the address was.
func (o *offers) put(addr netip.Addr, mac boot.MAC, until time.Time) {
	o.remove(o.byAddr[addr])
	o.remove(o.byMAC[mac])
	if o.order.Len() == o.max {
		o.remove(o.order.Back())
	}
	e := o.order.PushFront(offer{addr, mac, until})
	o.byAddr[addr], o.byMAC[mac] = e, e
}

func (o *offers) drop(addr netip.Addr) { o.remove(o.byAddr[addr]) }

func (o *offers) remove(e *list.Element) {
	if e == nil {
		return
	}
	v := o.order.Remove(e).(offer)
	delete(o.byAddr, v.addr)
	delete(o.byMAC, v.mac)
}

// to returns what a MAC was offered.
func (o *offers) to(mac boot.MAC, now time.Time) (netip.Addr, bool) {
	if e := o.byMAC[mac]; e != nil && now.Before(e.Value.(offer).until) {
		return e.Value.(offer).addr, true
	}
	return netip.Addr{}, false
}

// until returns when the offer of an address ends, false where there is none.
func (o *offers) until(addr netip.Addr, now time.Time) (time.Time, bool) {
	if e := o.byAddr[addr]; e != nil && now.Before(e.Value.(offer).until) {
		return e.Value.(offer).until, true
	}
	return time.Time{}, false
}

func (o *offers) has(addr netip.Addr, now time.Time) bool {
	_, ok := o.until(addr, now)
	return ok
}
