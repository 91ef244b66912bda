// Package dhcp6 answers DHCPv6 (RFC 8415) on a link, for UEFI machines that
// boot by IPv6. They get an address, and the URL of the boot file in option 59
// (RFC 5970). The appliance runs one Server for each link that has an address
// in an IPv6 network of the config.
//
// What boots so has to find the appliance by IPv4 afterwards, as our agent
// does. A loader that takes a script is told of none here: the script names the
// address that was asked for it.
//
// A packet goes through the files in this order: server.go, message.go,
// lease.go, answer.go, and back to server.go, which sends. What is said is
// decided by a pure function, respond.
//
// The package knows no relays, temporary addresses or prefixes. It never
// decides what a machine boots: that is Server.Decide. That there is a network
// at all machines hear from package ra.
package dhcp6
