//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot/tftp/conformance"
)

// flood sends requests from many strangers, spread evenly over o.over. Each is
// an (address, port) pair, and never says more. Meanwhile honest clients get the
// file one after another, until a second after the last request. They come from
// the one address of all other clients. Without o.from it is the strangers' too.
func flood(ctx context.Context, o *options) (result, error) {
	strangers, err := newStrangers(o)
	if err != nil {
		return result{}, err
	}
	defer func() {
		for _, fd := range strangers {
			unix.Close(fd)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	knocking := make(chan struct{})
	go func() {
		defer close(knocking)
		knock(ctx, o, strangers)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}()
	var r result
	for over := false; !over; {
		select {
		case <-knocking:
			over = true // one more, with all of them there
		case <-time.After(50 * time.Millisecond):
		}
		one, err := single(ctx, o)
		if err != nil {
			return r, err
		}
		slowest := max(r.Seconds, one.Seconds)
		r = merged(r, one)
		r.Seconds = slowest
	}
	// The strangers kept their sockets, so no ICMP told the server that they
	// were gone. What it sent them waits there.
	buf := make([]byte, 64)
	for _, fd := range strangers {
		n := 0
		for {
			if _, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); err != nil {
				break
			}
			n++
		}
		r.Answers = max(r.Answers, n)
		if n > 0 {
			r.Strangers++
		}
	}
	return r, nil
}

// merged is both results as one.
func merged(a, b result) result {
	a.Clients += b.Clients
	a.Bytes += b.Bytes
	a.Corrupt += b.Corrupt
	a.Repeats += b.Repeats
	a.Blksize, a.Windowsize = b.Blksize, b.Windowsize
	for why, n := range b.Failed {
		if a.Failed == nil {
			a.Failed = map[string]int{}
		}
		a.Failed[why] += n
	}
	return a
}

func newStrangers(o *options) ([]int, error) {
	fds := make([]int, 0, o.halfOpen)
	addr := o.from.Addr()
	for i := range o.halfOpen {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fds, fmt.Errorf("open a socket for stranger %d: %w", i, err)
		}
		fds = append(fds, fd)
		if !o.from.IsValid() {
			continue
		}
		if addr = addr.Next(); !o.from.Contains(addr) {
			return fds, fmt.Errorf("%v has fewer than %d addresses", o.from, o.halfOpen)
		}
		// The address is on no interface. Where a local route has it, this is
		// not needed.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4()}); err != nil {
			return fds, fmt.Errorf("bind to %v: %w", addr, err)
		}
	}
	return fds, nil
}

// knock sends the strangers' requests.
func knock(ctx context.Context, o *options, strangers []int) {
	rrq := conformance.AppendRequest(nil, conformance.OpRRQ, o.name, "octet", o.asked()...)
	to := &unix.SockaddrInet4{Port: int(o.server.Port()), Addr: o.server.Addr().As4()}
	start := time.Now()
	for sent := 0; sent < len(strangers) && ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
		due := len(strangers)
		if part := time.Since(start); part < o.over {
			due = int(int64(due) * int64(part) / int64(o.over))
		}
		for ; sent < due; sent++ {
			unix.Sendto(strangers[sent], rrq, 0, to)
		}
	}
}
