// Package limit bounds what clients may take of the appliance: connections,
// answers a second, and remembered values.
//
// The servers of protocols and the appliance's root use it. It owns counters
// and one cache. It speaks no protocol, stores nothing on disk, and imports
// nothing of ours.
package limit
