// Package journal keeps what happened to each machine, as one stream of events.
//
// The appliance's root and its servers call Add. The HTTP server reads with
// Machine, Since and Subscribe. `bootlace why` and tests parse log lines with
// ParseLine. The package owns the numbers and times of events. It also owns
// how many are kept, in memory alone. It never judges an event; package verdict
// does.
//
// # Events
//
// Everything that happens to a machine is a boot.Event, from its first packet
// to "done" or "failed". The log, the API and `bootlace why` render this one
// stream.
//
// What a packet's sender says can be forged. So events that anybody can cause
// are kept apart from reports and orders, and cannot push those out.
package journal
