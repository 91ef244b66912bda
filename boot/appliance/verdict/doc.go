// Package verdict says where a machine stands, from its events alone.
//
// The HTTP server asks it for the status of each machine that it shows. The
// package owns the words. It is pure: it reads no clock and keeps nothing.
package verdict
