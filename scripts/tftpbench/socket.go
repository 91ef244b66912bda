//go:build linux

package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the hot path are made here, so that a packet costs no more
// than they do. The generator has to be lighter than the servers it measures.

// An mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// A batch is what one recvmmsg reads into.
type batch struct {
	msgs []mmsghdr
	iov  []unix.Iovec
	bufs [][]byte
}

// newBatch has room for n packets of up to size bytes.
func newBatch(n, size int) *batch {
	b := &batch{make([]mmsghdr, n), make([]unix.Iovec, n), make([][]byte, n)}
	for i := range n {
		b.bufs[i] = make([]byte, size)
		b.iov[i].Base = &b.bufs[i][0]
		b.iov[i].SetLen(size)
		b.msgs[i].Iov = &b.iov[i]
		b.msgs[i].SetIovlen(1)
	}
	return b
}

// packet is the i-th of those that were read last.
func (b *batch) packet(i int) []byte { return b.bufs[i][:b.msgs[i].n] }

// recv reads one packet, or up to n. With flags 0 it waits for the first.
func (b *batch) recv(fd, n, flags int) (int, unix.Errno) {
	call := unix.RawSyscall6
	if flags&unix.MSG_DONTWAIT == 0 {
		call = unix.Syscall6
	}
	if n <= 1 {
		k, _, errno := call(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(b.iov[0].Base)), uintptr(b.iov[0].Len), uintptr(flags), 0, 0)
		if errno != 0 {
			return 0, errno
		}
		b.msgs[0].n = uint32(k)
		return 1, 0
	}
	k, _, errno := call(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(min(n, len(b.msgs))), uintptr(flags|unix.MSG_WAITFORONE), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(k), 0
}

// send sends a packet on a connected socket.
func send(fd int, p []byte) {
	unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
}

// raiseFiles lets this process, and those it starts, open n files. Where more
// are allowed it is those.
func raiseFiles(n uint64) error {
	var have syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &have); err != nil {
		return fmt.Errorf("get the limit of open files: %w", err)
	}
	// package syscall's, so that children get it too.
	err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: max(n, have.Max), Max: max(n, have.Max)})
	if err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", n, err)
	}
	return nil
}
