// Package agent is the device half: the sequence from power-on to done. It gets
// an address and finds the appliance. It fetches its plan and carries it out. It
// runs as PID 1 of our firmware. On an ordinary machine it runs on one link, to
// try a plan out.
//
// cmd/bootlace calls Run and hands in what only it knows: how to be an
// appliance. The agent owns the machine's links, console and disks while it
// runs. It never writes to a disk that the plan does not name. It never says
// "done" before the appliance has acknowledged it.
//
// A Session is one run. Its parts have types of their own:
//
//	network   addresses and leases
//	planner   the plan
//	Reporter  events, on their way to the appliance
//	volumes   the disk with an appliance's files
//	machine   what this hardware is
//
// Each outcome of a plan is a file of its own, see outcomes.
package agent
