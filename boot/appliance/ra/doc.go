// Package ra answers machines that look for an IPv6 router on a link that has
// none. The appliance runs one Server for each link in full mode of DHCP.
//
// iPXE waits 13 to 16 s for a router on a link without IPv6, whatever DHCP has
// brought by then. A router advertisement with a router lifetime of 0 and no
// prefix ends the wait and changes nothing. Its sender is no default router,
// and there is no address to be made from it.
//
// Where addresses are given by DHCPv6 the advertisement says so (the M flag),
// and which network is on the link. Its sender still is no default router.
//
// The server never advertises of its own accord: it answers who asks, and only
// him. Where another router is heard it is silent. It gives no address: that is
// package dhcp6.
package ra
