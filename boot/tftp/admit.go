package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// These end a transfer without a word: its client's port has a new one, or
// there may be no client.
var (
	errReplaced = errors.New("the client sent a new request from the same port")
	errGaveWay  = errors.New("no answer yet, and too many requests")
)

// errGone ends a transfer whose client's port is closed.
var errGone = fmt.Errorf("the client has gone: %w", syscall.ECONNREFUSED)

// errBusy refuses a transfer beyond the limits.
var errBusy = &Error{CodeUndefined, "server is busy: too many transfers"}

// request begins a transfer.
func (e *engine) request(p []byte, from netip.AddrPort, at local) {
	req, err := parseRequest(p)
	if err != nil {
		e.log.Debug("malformed TFTP request", "client", from, "err", err)
		e.reply(e.ask, from, at, errIllegal)
		return
	}
	port := e.ask.port
	req.Remote, req.Local = named(from), netip.AddrPortFrom(at.addr, port.Port())
	if !at.addr.IsValid() {
		req.Local = port
	}
	if old := e.active[from]; old != nil {
		if bytes.Equal(old.asked, p) && !old.stalled {
			return // the same once more
		}
		old.end(errReplaced)
	}
	if e.full(from.Addr()) {
		e.reclaim(func(o *transfer) bool { return e.established >= e.limits.Transfers || o.peer.Addr() == from.Addr() })
	}
	if e.full(from.Addr()) || req.Write && e.uploads >= e.limits.Transfers+e.limits.HalfOpen {
		e.refuse(from, at)
		return
	}
	e.Counters.Requests.Add(1)
	t := &transfer{e: e, req: req, asked: bytes.Clone(p), line: e.data, at: at, peer: from, began: e.now, slot: -1}
	t.ctx, t.cancel = context.WithCancelCause(e.ctx)
	t.route = t.line.routeTo(from, at)
	e.active[from] = t
	most := e.limits.HalfOpen
	if req.Write && (req.Mode == "octet" || req.Mode == "netascii") {
		t.in = make(chan []byte, uploadQueue)
		most = min(most, mostAsking)
	}
	if r := e.half(t); r.n >= most {
		e.giveWay(r.head)
	}
	e.half(t).push(t)
	if t.in != nil {
		e.uploads++
		e.jobs.Go(func() { e.upload(t) })
		return
	}
	e.crew.do(e, job{t.open, t})
}

// half are the half-open transfers of t's kind.
func (e *engine) half(t *transfer) *ring {
	if t.in != nil {
		return &e.asking
	}
	return &e.halfOpen
}

// giveWay ends the transfer of a client that may not be there.
func (e *engine) giveWay(t *transfer) {
	e.Counters.GaveWay.Add(1)
	e.warn("oldest TFTP request without an answer gives way", "client", t.peer)
	t.end(errGaveWay)
}

// room reports whether src may be open with the others. Half-open transfers
// older than t that keep others open give way.
func (e *engine) room(src *Source, t *transfer) bool {
	if e.cache.shares(src) {
		return true
	}
	for o := e.halfOpen.head; o != nil && o != t && e.cache.open >= e.limits.Files; {
		next := o.newer
		if o.file != nil && o.file.refs-o.file.queued == 1 {
			e.giveWay(o)
		}
		o = next
	}
	if e.cache.open >= e.limits.Files {
		e.reclaim(func(o *transfer) bool { return o.file != nil && o.file.refs-o.file.queued == 1 })
	}
	return e.cache.open < e.limits.Files
}

// mostAsking is how many uploads may be half-open: each has made a file.
const mostAsking = 64

// idle is how long a client may acknowledge nothing while others want its place.
// It is longer than any goes on without an answer, but for those with a timeout
// of their own, which may keep a place for most of an hour.
const idle = 40 * time.Second

// reclaim ends the established download, of those that would help, that moved
// least recently, if it is idle.
func (e *engine) reclaim(helps func(*transfer) bool) {
	if e.now.Sub(e.sought) < time.Second && !e.found {
		return // it takes a look at all of them
	}
	var worst *transfer
	for _, o := range e.active {
		if o.counted && o.in == nil && e.now.Sub(o.moved) >= idle && (worst == nil || o.moved.Before(worst.moved)) && helps(o) {
			worst = o
		}
	}
	e.sought, e.found = e.now, worst != nil
	if worst != nil {
		e.Counters.GaveWay.Add(1)
		worst.end(errBusy)
	}
}

// full reports whether there is no room for another transfer of a client.
func (e *engine) full(client netip.Addr) bool {
	return e.established >= e.limits.Transfers || e.clients[client] >= e.limits.PerClient
}

func (e *engine) refuse(from netip.AddrPort, at local) {
	e.Counters.Refused.Add(1)
	e.warn("TFTP request refused: too many transfers", "client", from, "transfers", e.established, "of the client", e.clients[from.Addr()])
	e.reply(e.ask, from, at, errBusy)
}

// warn logs at most once a second: floods are long.
func (e *engine) warn(msg string, args ...any) {
	if e.now.Sub(e.warned) > time.Second {
		e.warned = e.now
		e.log.Warn(msg, args...)
	}
}

// A ring is a list of transfers, each in one at most.
type ring struct {
	head, tail *transfer
	n          int
}

func (r *ring) push(t *transfer) {
	t.waits, t.older = true, r.tail
	if r.tail != nil {
		r.tail.newer = t
	} else {
		r.head = t
	}
	r.tail = t
	r.n++
}

// remove returns whether t was in the list.
func (r *ring) remove(t *transfer) bool {
	if !t.waits {
		return false
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		r.head = t.newer
	}
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		r.tail = t.older
	}
	t.waits, t.older, t.newer = false, nil, nil
	r.n--
	return true
}
