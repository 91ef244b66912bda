// Package appliance is the serving half put together.
//
// `bootlace serve` calls New with a checked config, and Run. The package owns
// what joins the rooms below it: which links are served, the URLs under which
// machines reach us, who has which address, and the list of servers. It wires.
// What is decided, stored, spoken or written stands in the packages below it.
//
// A request for a file goes files.Tree, made, machines, policy, loaders and
// back. A DHCP packet goes dhcp, machines, policy and back, and reads no disk.
package appliance
