// Package agent is the device half: the sequence from power-on to done. It
// gets an address, finds the appliance, fetches its plan, and carries out what
// the plan asks for. It runs as PID 1 of our firmware. On an ordinary machine
// it runs on one link, to try a plan out.
//
// cmd/bootlace calls Run and hands in what only it knows: how to be an
// appliance. The agent owns the machine's links, console and disks while it
// runs. It never writes to a disk that the plan does not name, and never says
// "done" before the appliance has acknowledged it.
//
// A Session is one run. Its parts have types of their own: network (addresses
// and leases), planner (the plan), Reporter (events), volumes (the disk with an
// appliance's files), machine (what this hardware is), and one file an outcome.
package agent
