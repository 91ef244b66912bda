// Package wire sends and receives Ethernet frames on one interface.
//
// The servers of package dhcp, dhcp6 and ra call it, and the lab in QEMU. It
// owns packet sockets and their filters, the frames of IPv4, IPv6 and ICMPv6
// with their checksums, and the UDP sockets that belong to one interface. A
// Watch tells when such an interface lost its address or was replaced.
//
// It never decides what is said: it knows no DHCP message and no machine. It
// imports nothing of ours, and runs on Linux alone.
package wire
