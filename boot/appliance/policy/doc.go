// Package policy decides who gets what, by rules alone.
//
// The appliance's root calls Decide with a machine and its facts. It does so
// for a DHCP answer, a loader's script or a plan. The package owns the order of
// the rules. It reads no file, no clock and no state. So the same arguments
// give the same answer.
//
// # Profiles
//
// A profile says what a machine gets. The first one that matches wins. Without
// any profiles every machine gets our firmware, which reports and waits. Where
// there are profiles and none matches, Policy.Unknown decides: ignore or wait.
//
// A flashed machine boots from its disk instead, until a person orders another
// flash.
package policy
