package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/bootlace/bootlace/boot/udp"
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

const (
	maxHalfOpenPuts = 64 // uploads that may be half-open: each has made a file
	uploadQueue     = 16 // packets that wait for one upload

	// logEvery bounds the log: floods are long.
	logEvery = time.Second

	// reclaimEvery is how often reclaim looks in vain, since it looks at all
	// transfers.
	reclaimEvery = time.Second
)

// handleRequest begins a transfer.
func (e *engine) handleRequest(p []byte, from netip.AddrPort, at udp.Local) {
	req, err := parseRequest(p)
	if err != nil {
		e.log.Debug("malformed TFTP request", "client", from, "err", err)
		e.reply(e.requests, from, at, errIllegal)
		return
	}
	own := e.requests.LocalAddr()
	req.Remote, req.Local = udp.NamedZone(from), netip.AddrPortFrom(at.Addr, own.Port())
	if !at.Addr.IsValid() {
		req.Local = own
	}
	if old := e.active[from]; old != nil {
		if bytes.Equal(old.packet, p) && !old.life.silent {
			return // a retransmission
		}
		old.end(errReplaced)
	}
	if e.atLimit(from.Addr()) {
		e.reclaim(func(o *transfer) bool {
			return e.established >= e.limits.Transfers || o.peer.Addr() == from.Addr()
		})
	}
	if e.atLimit(from.Addr()) || req.Write && e.uploads >= e.limits.Transfers+e.limits.HalfOpen {
		e.refuse(from, at)
		return
	}
	e.Counters.Requests.Add(1)
	t := &transfer{e: e, req: req, packet: bytes.Clone(p), endpoint: e.transfers, local: at, peer: from, began: e.now}
	t.timer.slot = -1
	t.ctx, t.cancel = context.WithCancelCause(e.ctx)
	t.route = t.endpoint.RouteTo(from, at)
	e.active[from] = t
	limit := e.limits.HalfOpen
	if req.Write && (req.Mode == "octet" || req.Mode == "netascii") {
		t.packets = make(chan []byte, uploadQueue)
		limit = min(limit, maxHalfOpenPuts)
	}
	q := e.queueOf(t)
	if q.n >= limit {
		e.giveWay(q.head)
	}
	q.push(t)
	if t.packets != nil {
		e.uploads++
		e.running.Go(func() { e.upload(t) })
		return
	}
	e.workers.do(e, job{t.open, t})
}

// queueOf is the queue for half-open transfers of t's kind.
func (e *engine) queueOf(t *transfer) *queue {
	if t.packets != nil {
		return &e.halfOpenPuts
	}
	return &e.halfOpen
}

// giveWay ends the transfer of a client that may not be there.
func (e *engine) giveWay(t *transfer) {
	e.Counters.GaveWay.Add(1)
	e.warn("oldest TFTP request without an answer gives way", "client", t.peer)
	t.end(errGaveWay)
}

// mayOpen reports whether src may be open with the others. Half-open transfers
// that are older than t, and alone keep a file open, give way.
func (e *engine) mayOpen(src *Source, t *transfer) bool {
	if e.cache.shares(src) {
		return true
	}
	for o := e.halfOpen.head; o != nil && o != t && e.cache.open >= e.limits.Files; {
		newer := o.life.newer
		if o.file.onlyUser() {
			e.giveWay(o)
		}
		o = newer
	}
	if e.cache.open >= e.limits.Files {
		e.reclaim(func(o *transfer) bool { return o.file.onlyUser() })
	}
	return e.cache.open < e.limits.Files
}

// reclaim makes room. Of the established downloads that would help, it ends the
// one that has been idle longest, if that is for longer than Timing.Idle.
func (e *engine) reclaim(helps func(*transfer) bool) {
	if e.now.Sub(e.reclaimed) < reclaimEvery && !e.reclaimable {
		return
	}
	var idlest *transfer
	for _, o := range e.active {
		if o.life.established && o.packets == nil && e.now.Sub(o.life.progress) >= e.timing.Idle &&
			(idlest == nil || o.life.progress.Before(idlest.life.progress)) && helps(o) {
			idlest = o
		}
	}
	e.reclaimed, e.reclaimable = e.now, idlest != nil
	if idlest != nil {
		e.Counters.GaveWay.Add(1)
		idlest.end(errBusy)
	}
}

// atLimit reports whether there is no room for another transfer of a client.
func (e *engine) atLimit(client netip.Addr) bool {
	return e.established >= e.limits.Transfers || e.clients[client] >= e.limits.PerClient
}

func (e *engine) refuse(from netip.AddrPort, at udp.Local) {
	e.Counters.Refused.Add(1)
	e.warn("TFTP request refused: too many transfers", "client", from, "transfers", e.established, "of the client", e.clients[from.Addr()])
	e.reply(e.requests, from, at, errBusy)
}

// warn logs at most once in logEvery.
func (e *engine) warn(msg string, args ...any) {
	if e.now.Sub(e.warned) > logEvery {
		e.warned = e.now
		e.log.Warn(msg, args...)
	}
}
