// Package policy decides who gets what, by rules alone.
//
// The appliance's root calls Decide with a machine and its facts, for a DHCP
// answer, a loader's script or a plan. The package owns the order of the
// rules: a person's order, a disk that was flashed already, the first profile
// that matches. It reads no file, no clock and no state, so the same
// arguments give the same answer.
package policy
