package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// getTFTP reads the file from its first byte: TFTP cannot begin elsewhere.
func getTFTP(ctx context.Context, u *url.URL, s *stream) error {
	server, err := resolve(ctx, u, 69)
	if err != nil {
		return err
	}
	s.begin(0)
	client := s.puller.TFTP
	client.Announce = s.announce
	t, err := client.Get(ctx, server, tftpName(u), s)
	if t.Bytes > 0 && errors.Is(err, fs.ErrNotExist) {
		// pin/tftp 3.2.0 gives up with code 1 too; a file that came in part is there.
		return errors.New(err.Error())
	}
	return err
}

// tftpName is the file that a URL means, without the slash before it. Servers
// that take an absolute name take a relative one as well. The transfer is always
// in octet mode, which RFC 3617 lets a URL ask for.
func tftpName(u *url.URL) string {
	return strings.TrimSuffix(strings.TrimPrefix(u.Path, "/"), ";mode=octet")
}

// resolve finds the address of a URL's host. It takes an IPv4 one where there
// are both. A TFTP server that listens on one of them only is silent on the
// other.
func resolve(ctx context.Context, u *url.URL, port uint16) (netip.AddrPort, error) {
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("port %q of the URL is no port", u.Port())
		}
		port = uint16(n)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return netip.AddrPortFrom(a, port), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.AddrPort{}, err
	}
	i := max(slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Unmap().Is4() }), 0)
	return netip.AddrPortFrom(addrs[i].Unmap(), port), nil
}
