// Package link brings a machine that was just switched on as far as a shell
// script would: file systems, modules, consoles, Ethernet links, addresses.
//
// The agent calls it on the device, and an appliance that booted as firmware.
// It owns what the kernel shows of this machine: its links, its block devices
// with their labels, its terminals, its command line.
//
// It asks nobody for an address and decides nothing. It knows neither half.
package link
