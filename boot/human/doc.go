// Package human writes numbers and text for people. It has bytes, rates and
// progress bars, and makes a stranger's words fit for a terminal.
//
// Commands, the agent's console, the journal and error messages call it. It owns
// no state but a Meter's samples. It never writes anywhere itself, and never
// parses what it wrote.
package human
