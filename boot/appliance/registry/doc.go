// Package registry knows machines: which of the MACs, UUIDs and serials that
// are heard belong to one, and what is remembered of it.
//
// The root of the serving half asks it for each packet, and web for people and
// devices. A machine on which something hangs is in the store, and is held
// through a store.Mirror. One that was only heard is in memory, and the number
// of those is bounded.
//
// It never decides what a machine gets, and asks the network nothing.
package registry
