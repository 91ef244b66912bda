package tftp

import "time"

// handleACK takes an ACK.
func (t *transfer) handleACK(block uint16) {
	if t.neg.oack != nil {
		t.acceptOptions(block)
		return
	}
	w := &t.win
	switch ahead := t.ahead(block); {
	case ahead > w.high-w.acked:
		// Old, or never sent.
	case ahead > 0:
		if !t.establish() {
			return
		}
		t.advance(w.acked + ahead)
		if w.acked == w.final {
			t.end(nil)
			return
		}
		t.sendWindow()
	case w.size > 1 && w.dupACKIsLoss && !w.dupACK && t.read.missing == nil:
		// The window's first block was lost, or the network doubled the ACK. If
		// the client has the window, its own ACK comes within the grace. In
		// lockstep it is always a duplicate. To answer one would double every
		// packet from there on: the Sorcerer's Apprentice, RFC 1123 section
		// 4.2.3.1.
		w.dupACK = true
		if grace := t.e.now.Add(t.rto.grace()); grace.Before(t.timer.due) {
			t.e.timers.set(t, grace)
		}
	}
}

// acceptOptions takes the ACK of the OACK, which is for block 0 (RFC 2347).
func (t *transfer) acceptOptions(block uint16) {
	if block != 0 || !t.establish() {
		return
	}
	if t.win.resends == 0 {
		t.rto.sample(t.e.now.Sub(t.win.sentAt))
	}
	t.rto.fixed = t.neg.granted.Timeout // from here: before, the client had not agreed
	t.neg.oack, t.win.resends, t.life.unreachable = nil, 0, false
	t.sendWindow()
}

// advance takes an ACK up to a block. If more was sent the ACK stands at a gap,
// and what follows it is retransmitted (RFC 7440 section 4).
func (t *transfer) advance(acked int64) {
	w := &t.win
	whole := w.clean && acked == w.high
	t.measure(acked)
	t.pace.relax(w, acked)
	w.dupACKIsLoss = whole // where blocks went out twice, so may ACKs
	w.clean = acked == w.high
	if !w.clean {
		t.pace.shrink(w.size)
	} else if whole {
		t.pace.grow(w.size)
	}
	w.lastTimedOut = w.resends > 0
	w.acked, w.resends = acked, 0
	t.life.silent, t.life.unreachable, t.life.progress = false, false, t.e.now
	if w.bytes = acked * int64(t.neg.blksize); acked == w.final {
		w.bytes = w.total
	}
}

// measure samples the RTT of a window that needed no timeout. By Karn's rule
// blocks up to win.ambiguous give no sample. Such an ACK, or one at a gap,
// still undoes half of the backoff if it came within RTO/2. Otherwise a lossy
// link, where complete windows are rare, would keep the backed-off RTO for the
// whole transfer.
//
// A slow link takes longer for a whole window than for the part before a gap,
// by up to their ratio. So the time is scaled up by it.
func (t *transfer) measure(acked int64) {
	const maxRatio = 8 // more would make a delay on the machine look like a slow link
	w := &t.win
	took, part := t.e.now.Sub(w.sentAt), acked-w.acked
	switch whole := w.high - w.acked; {
	case w.resends > 0:
	case part == whole && acked > w.ambiguous:
		t.rto.sample(took)
	case took*time.Duration(min(whole, maxRatio*part))/time.Duration(part) < t.rto.value/2:
		t.rto.ease()
	}
}
