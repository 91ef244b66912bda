package boot

import "slices"

// A Protocol is one that serves the tree. Its name is the scheme of its URLs,
// the config key of its address, and Event.Proto.
type Protocol struct {
	Name    string
	Port    uint16 // of the server, by default
	Network string // for net.Listen: udp or tcp
	Source  bool   // a machine may be told to fetch from it
}

// Protocols has a row for each protocol, in the order in which a machine tries
// them. A new row needs a server in the appliance and a fetcher in the agent.
var Protocols = []Protocol{
	{Name: "tftp", Port: 69, Network: "udp", Source: true},
	{Name: "ftp", Port: 21, Network: "tcp", Source: true},
	{Name: "http", Port: 80, Network: "tcp", Source: true},
}

// ProtocolByName returns the protocol's row of the table.
func ProtocolByName(name string) (Protocol, bool) {
	i := slices.IndexFunc(Protocols, func(p Protocol) bool { return p.Name == name })
	if i < 0 {
		return Protocol{}, false
	}
	return Protocols[i], true
}

// sources returns the protocols that a machine fetches from.
func sources() (names []string) {
	for _, p := range Protocols {
		if p.Source {
			names = append(names, p.Name)
		}
	}
	return names
}
