// Package journal keeps what happened to each machine, as one stream of events.
//
// The appliance's root and its servers call Add. The HTTP server reads with
// Machine, Since and Subscribe. Tools that read a log call ParseLine. The
// package owns the numbers and times of events, and keeps the latest in memory.
// It never judges an event; package verdict does.
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
