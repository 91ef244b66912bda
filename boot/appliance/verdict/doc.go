// Package verdict says where a machine stands, from its events alone.
//
// The HTTP server calls Status for each machine that it shows. The package owns
// the rules for which event counts. It is pure: it reads no clock and keeps
// nothing.
package verdict
