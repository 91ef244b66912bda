// Package wire sends and receives Ethernet frames on one interface.
//
// The servers of package dhcp, dhcp6 and ra call it, package link, and the lab in
// QEMU. It owns packet sockets with their filters, and UDP sockets of one
// interface. It makes and reads frames of IPv4, IPv6 and ICMPv6, with their
// checksums. A Netlink asks the kernel for interfaces, addresses and routes, and
// sets them. A Watch tells when an interface lost its address or was replaced.
//
// It never decides what is said. It knows no DHCP message and no machine. It
// imports nothing of ours, and runs on Linux alone.
package wire
