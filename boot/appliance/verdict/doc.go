// Package verdict says where a machine stands, from its events alone.
//
// The HTTP server calls Status for each machine. The package owns
// the rules for which event counts. It is pure. It reads no clock and keeps
// nothing.
package verdict
