// Package human writes numbers and text for people: bytes, rates, progress
// bars, and what a stranger said made fit for a terminal.
//
// Commands, the agent's console, the journal and error messages call it. It
// owns no state but a Meter's samples. It never writes anywhere itself and
// never parses what it wrote.
package human
