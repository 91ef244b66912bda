// Package nettest gives tests what they need of a network. That is namespaces
// joined by cables or a switch, programs in them, and recorded packets.
//
// Tests of both halves call it, and nothing else does. What it makes goes with
// the test. It never touches the machine's own network.
package nettest
