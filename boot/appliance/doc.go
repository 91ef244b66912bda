// Package appliance is the root of the serving half. It wires its packages.
//
// `bootlace serve` calls New with a checked config, and then Run. The package
// owns the links that are served and the URLs under which machines reach us. It
// owns who has which address, and the list of servers. It never decides, stores
// or parses anything itself.
//
// A file request goes through files.Tree, made, machines, policy and loaders.
// A DHCP packet goes through dhcp, machines and policy. It reads no disk.
package appliance
