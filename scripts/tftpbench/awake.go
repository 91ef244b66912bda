//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// In lockstep each packet wakes the other side. A processor of a virtual machine
// may have gone to sleep meanwhile. To wake it takes the host tens of
// microseconds, several times what a block costs. The same server is five times
// as fast on a machine that does something else besides. So all processors are
// kept awake while servers and clients are measured. The threads that do so give
// way to whatever else wants to run (SCHED_IDLE).

// keepAwake starts a process of those threads, and returns what ends it.
func (b *bench) keepAwake() (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "awake")
	in, err := cmd.StdinPipe() // ends with us, and it with that
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := b.rig.start("", cmd, nil); err != nil {
		return nil, fmt.Errorf("keep processors awake: %w", err)
	}
	return func() error { return errors.Join(in.Close(), cmd.Wait()) }, nil
}

// runAwake is that process. It ends with its standard input.
func runAwake(context.Context, []string) error {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("get processors: %w", err)
	}
	runtime.GOMAXPROCS(all.Count() + 1) // each thread keeps one, the main goroutine another
	errs := make([]error, all.Count())
	var ready sync.WaitGroup
	for cpu, n := 0, 0; n < len(errs); cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		err := &errs[n]
		n++
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			*err = idleOn(cpu)
			ready.Done()
			for *err == nil {
			}
		}()
	}
	ready.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	os.Stdin.Read(make([]byte, 1))
	return nil
}

// idleOn has the calling thread run on one processor, when nothing else does.
func idleOn(cpu int) error {
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep to processor %d: %w", cpu, err)
	}
	idle := unix.SchedAttr{Policy: unix.SCHED_IDLE}
	if err := unix.SchedSetAttr(0, &idle, 0); err != nil {
		return fmt.Errorf("run when nothing else does: %w", err)
	}
	return nil
}
