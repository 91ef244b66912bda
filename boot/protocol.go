package boot

import "slices"

// A Protocol is one by which the served tree can be read. Its name is the
// scheme of its URLs, the key of its address in the config, and what events
// say it is.
type Protocol struct {
	Name    string
	Port    uint16 // where it listens by default
	Network string // of net.Listen: udp or tcp
	Source  bool   // a machine may be told to fetch from it
}

// Protocols is the table, in the order in which a machine tries them. Beside
// its row a protocol has a server of the appliance and a fetcher of the device.
var Protocols = []Protocol{
	{Name: "tftp", Port: 69, Network: "udp", Source: true},
	{Name: "ftp", Port: 21, Network: "tcp", Source: true},
	{Name: "http", Port: 80, Network: "tcp", Source: true},
}

// ProtocolByName finds a row of the table.
func ProtocolByName(name string) (Protocol, bool) {
	i := slices.IndexFunc(Protocols, func(p Protocol) bool { return p.Name == name })
	if i < 0 {
		return Protocol{}, false
	}
	return Protocols[i], true
}

// sources are the names of the protocols that a machine fetches from.
func sources() (names []string) {
	for _, p := range Protocols {
		if p.Source {
			names = append(names, p.Name)
		}
	}
	return names
}
