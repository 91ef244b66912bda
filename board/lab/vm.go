package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A VM is a machine that was turned on. Its methods may be called at any time
// and from any goroutine. It has one for each thing that a person can do to a
// machine: read its screen, type, pull its cable, switch it off.
type VM struct {
	Name string

	dir    string // for files that live as long as the VM
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	serial *serial
	stderr tail
	ended  chan struct{} // closed when QEMU has ended
	err    error         // why, valid after ended

	qmpMu sync.Mutex
	qmp   *qmp
}

// stopTime is how long QEMU has to end after SIGTERM before it is killed. It
// takes milliseconds to close its disks.
const stopTime = 5 * time.Second

// Start turns a machine on. It is killed when ctx ends, and when this process
// ends, however that happens.
func Start(ctx context.Context, m Machine) (*VM, error) {
	if m.Name == "" && m.Board != nil {
		m.Name = m.Board.Name
	}
	// Sockets are in it. The path of a unix socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", m.Name, err)
	}
	vm := &VM{Name: m.Name, dir: dir, ended: make(chan struct{})}
	if err := vm.start(ctx, m); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", m.Name, err)
	}
	return vm, nil
}

func (vm *VM) start(ctx context.Context, m Machine) error {
	args, err := m.args(vm.dir)
	if err != nil {
		return err
	}
	program, err := emulator(m.Board)
	if err != nil {
		return err
	}
	path, err := lookPath(program)
	if err != nil {
		return err
	}
	vm.cmd = exec.Command(path, args...)
	vm.cmd.Stderr = &vm.stderr
	// In a process group of its own, ^C at the terminal does not reach QEMU.
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if m.Stdin != nil {
		// QEMU reads the terminal, which only the foreground group may.
		vm.cmd.Stdin, vm.cmd.SysProcAttr.Setpgid = m.Stdin, false
	} else if vm.stdin, err = vm.cmd.StdinPipe(); err != nil {
		return err
	}
	vm.serial = newSerial(m.Console, m.Stdout)
	vm.cmd.Stdout = vm.serial

	started := make(chan error)
	go func() {
		// Pdeathsig kills when the thread that forked ends, so that must stay.
		runtime.LockOSThread()
		vm.serial.start = time.Now()
		err := vm.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		vm.err = vm.wait()
		vm.serial.finish()
		os.RemoveAll(vm.dir)
		close(vm.ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	go func() {
		select {
		case <-ctx.Done():
			vm.Stop()
		case <-vm.ended:
		}
	}()
	return nil
}

// wait returns nil if QEMU ended in order or because it was told to.
func (vm *VM) wait() error {
	err := vm.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
			return nil
		}
		return fmt.Errorf("run %s: %w: %s", vm.Name, err, vm.stderr.String())
	}
	return err
}

// Ended is closed when the machine is off. Err then says why QEMU failed, or nil.
func (vm *VM) Ended() <-chan struct{} { return vm.ended }

// Err waits for the machine's end and returns its error.
func (vm *VM) Err() error {
	<-vm.ended
	return vm.err
}

// Stop ends QEMU in order and waits. The guest is not told.
func (vm *VM) Stop() {
	vm.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-vm.ended:
	case <-time.After(stopTime):
		vm.Kill()
	}
}

// Kill pulls the plug and waits.
func (vm *VM) Kill() {
	vm.cmd.Process.Kill()
	<-vm.ended
}

// Started is when the machine was turned on. Times of its lines count from there.
func (vm *VM) Started() time.Time { return vm.serial.start }

// PID is QEMU's process.
func (vm *VM) PID() int { return vm.cmd.Process.Pid }

// PeakRSS is the most memory that QEMU has used on the host so far, in bytes.
func (vm *VM) PeakRSS() int64 {
	select {
	case <-vm.ended:
		if ru, ok := vm.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			return ru.Maxrss << 10 // getrusage(2): KiB
		}
		return 0
	default:
	}
	status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(vm.PID()), "status"))
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// Type sends text to the serial console as if it were typed.
func (vm *VM) Type(text string) error {
	if vm.stdin == nil {
		return fmt.Errorf("type to %s: its console is elsewhere", vm.Name)
	}
	_, err := io.WriteString(vm.stdin, text)
	return err
}

// Lines returns what the serial console has said so far.
func (vm *VM) Lines() []Line { return vm.serial.all() }

// WaitFor returns the first matching line after the one that the last WaitFor
// returned. It fails if ctx or the machine ends first. The error names what was
// waited for and quotes the last lines.
func (vm *VM) WaitFor(ctx context.Context, re *regexp.Regexp) (Line, error) {
	line, err := vm.serial.waitFor(ctx, re)
	if err != nil {
		return line, fmt.Errorf("wait for %q of %s: %w\n%s", re, vm.Name, err, vm.serial.last(20))
	}
	return line, nil
}

// lookPath finds a program on PATH or in folders that not everybody's PATH has.
func lookPath(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: not installed", program)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - 2048; n > 0 {
		t.buf = t.buf[n:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
