// Package lease hands out addresses of IPv4 and IPv6: who has which, and until
// when.
//
// The servers of DHCP and DHCPv6 ask it for each packet that is about an
// address. It keeps leases in the store, each under its address, so that no two
// machines can have one. It holds them through a store.Mirror, so that several
// appliances can share them. It sends nothing, and never asks the network
// whether an address is in use.
//
// Keys in the store, and their values in JSON:
//
//	lease/ADDR   IPv4: v (1), mac, id (option 61), declined
//	lease6/ADDR  IPv6: v (1), duid, iaid, mac (zero where unknown), declined
//
// An entry expires with its lease. A value that cannot be read is left as it
// is, and its address is given to nobody.
//
// An IPv4 lease belongs to a MAC (chaddr). RFC 2131 section 4.2 would have it
// belong to the client identifier, option 61. But the PXE ROM, iPXE, our agent
// and the system that is flashed send four different ones, or none, in one
// boot. They would take four addresses where the machine needs one. The
// identifier that came last is kept beside it for people to see.
//
// An IPv6 lease belongs to a DUID and an IAID (RFC 8415 section 12).
//
// An offer costs memory only, and little of it. Strangers who only ask write
// nothing to disk and cannot use up a pool. Addresses are not probed by ARP or
// ping before they are offered. RFC 2131 section 3.1 asks that of servers as a
// SHOULD, but it would cost every boot a second. A client that finds its
// address in use says DECLINE. The address is then left alone for a while.
package lease
