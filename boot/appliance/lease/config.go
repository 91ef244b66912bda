package lease

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Config is what the config says of addresses.
type Config struct {
	Subnets  []Subnet // IPv4; one without a Prefix takes that of the link whose network holds its pool
	Hosts    []Host
	Subnets6 []Subnet // IPv6
}

// Check6 holds what a person gets wrong in a subnet of IPv6. field names the
// one that is meant: net, pool, lease or dns.
func (n Subnet) Check6() (field string, err error) {
	net := n.Prefix.Addr()
	from, to := n.PoolFrom.As16(), n.PoolTo.As16()
	switch {
	case net.Is4In6() || net.IsLinkLocalUnicast() || net.IsMulticast():
		return "net", fmt.Errorf("%s is no network of which addresses can be given", n.Prefix)
	case !bytes.Equal(from[:14], to[:14]):
		return "pool", errors.New("want addresses that differ after their last colon only, 65536 at most")
	case n.Lease < time.Minute || n.Lease > 1<<31*time.Second:
		return "lease", errors.New("want a minute or more")
	}
	for _, a := range n.DNS {
		if !a.Is6() {
			return "dns", fmt.Errorf("%s is not an IPv6 address", a)
		}
	}
	return "", nil
}
