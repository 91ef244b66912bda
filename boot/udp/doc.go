//go:build linux

// Package udp sends and receives UDP datagrams in batches. Protocols that
// serve many peers use it, as package tftp does. It is for Linux alone: it
// stands on recvmmsg(2), sendmmsg(2), UDP_SEGMENT (GSO) and UDP_GRO.
//
// A [Socket] talks with many peers. It is read through a [Reader] and written
// through a [Writer]. A [Conn] talks with one peer. A [Network] is the same in
// memory: it carries datagrams in tests of timing, where nobody may wait for
// the kernel.
//
// The package knows no protocol and parses no datagram. It never retransmits:
// what cannot be sent is lost, as on a bad link.
package udp
