package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/appliance/limit"
)

// Bounds of one report, and of what is remembered to recognise repeated events.
// A boot remembers more than two reports hold, since a device repeats its last
// report.
const (
	MaxEvents    = 256 // events in a report
	maxBoots     = 512
	maxSessions  = 2*MaxEvents + 1  // events remembered of a boot
	maxSession   = 40               // bytes; a decimal uint64 has 20
	refusedEvery = 10 * time.Second // pause between two notes for one machine
	maxRefused   = 32               // machines with a note in that time
)

func (p *reports) serve(w http.ResponseWriter, r *http.Request) {
	mac, err := boot.ParseMAC(r.PathValue("mac"))
	if err != nil {
		writeText(w, http.StatusBadRequest, "no MAC in the path")
		return
	}
	// Anybody can send a report. Its events are decoded only once the token is
	// verified.
	var rep struct {
		Boot, Job string
		Events    json.RawMessage
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, boot.MaxReport)).Decode(&rep); err != nil {
		status, why := http.StatusBadRequest, "no report"
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status, why = http.StatusRequestEntityTooLarge, fmt.Sprintf("report is larger than %d bytes", boot.MaxReport)
		}
		writeText(w, status, why)
		return
	}
	id, err := p.Verify(r.Context(), mac, rep.Boot, rep.Job, bearer(r))
	if err != nil {
		p.noteRefused(r, mac)
		writeText(w, http.StatusForbidden, "wrong token for this machine, boot and job")
		return
	}
	all := boot.Report{Boot: rep.Boot, Job: rep.Job}
	if json.Unmarshal(rep.Events, &all.Events) != nil {
		writeText(w, http.StatusBadRequest, "no report: events are not as they should be")
		return
	}
	if why := checkReport(&all); why != "" {
		writeText(w, http.StatusBadRequest, why)
		return
	}
	if err := p.record(r, id, mac, &all); err != nil {
		p.writeInternalError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// checkReport says what is wrong with a report, "" if nothing. It runs before
// any event is recorded.
func checkReport(rep *boot.Report) string {
	if len(rep.Events) > MaxEvents {
		return fmt.Sprintf("more than %d events", MaxEvents)
	}
	for _, ev := range rep.Events {
		switch {
		case !ev.Kind.Row().FromDevice:
			return fmt.Sprintf("kind %.32q is not a device's", ev.Kind)
		case len(ev.Session) > maxSession:
			return fmt.Sprintf("session is longer than %d bytes", maxSession)
		case ev.Bytes < 0 || ev.Total < 0 || ev.Took < 0 || ev.Uptime < 0:
			return "negative number"
		}
	}
	return ""
}

// record records the events that are new. Reports of one boot wait for each
// other, so that a repeated one is recognised.
func (p *reports) record(r *http.Request, id string, mac boot.MAC, rep *boot.Report) error {
	b := p.sessionsOf(id + " " + rep.Boot)
	b.mu.Lock()
	defer b.mu.Unlock()
	// Finish even if the device hangs up.
	ctx := context.WithoutCancel(r.Context())
	for _, ev := range rep.Events {
		if b.seenBefore(ev.Session) {
			continue
		}
		// Who reports, and when, is ours to say, not the device's.
		ev.Machine, ev.MAC, ev.Boot, ev.Job, ev.Seq, ev.Time = id, mac, rep.Boot, rep.Job, 0, time.Now()
		ev = journal.Clean(ev) // Reported may store its strings for good
		if p.Reported != nil {
			if err := p.Reported(ctx, id, ev); err != nil {
				return fmt.Errorf("take report of machine %s: %w", id, err)
			}
		}
		p.Journal.Add(ev)
		b.remember(ev.Session)
	}
	return nil
}

// noteRefused adds a refused report to the journal. It counts as the
// appliance's observation, not as the machine's word. Notes are rare enough for
// a person to read.
func (p *reports) noteRefused(r *http.Request, mac boot.MAC) {
	m, err := p.Registry.Find(r.Context(), mac.String())
	slot := mac
	if err != nil {
		slot = boot.MAC{} // unknown MACs share one slot: they are easily made up
	}
	if p.mayNote(slot, time.Now()) {
		p.Journal.Add(boot.Event{Machine: m.ID, MAC: mac, Kind: boot.KindRefused, Proto: "http",
			Text: "a report from " + clientAddr(r).String() + " was refused: wrong token for this machine, boot and job"})
	}
}

// reports is the part of a Server that takes what devices report. It remembers
// reported events and refused reports, in bounded memory.
type reports struct {
	*Server
	boots *limit.Recent[string, *sessions] // by machine ID and boot

	mu      sync.Mutex
	refused map[boot.MAC]time.Time
}

func newReports(s *Server) *reports {
	return &reports{Server: s, boots: limit.NewRecent[string, *sessions](maxBoots), refused: map[boot.MAC]time.Time{}}
}

// sessions has the latest event numbers of one boot.
type sessions struct {
	mu      sync.Mutex
	seen    map[string]struct{}
	inOrder []string // the keys of seen, oldest first
}

// sessionsOf returns the sessions of one boot, and marks it as the latest one.
func (p *reports) sessionsOf(key string) (b *sessions) {
	p.boots.Update(key, func(known *sessions) *sessions {
		if b = known; b == nil {
			b = &sessions{seen: map[string]struct{}{}}
		}
		return b
	})
	return b
}

func (b *sessions) seenBefore(session string) bool {
	_, ok := b.seen[session]
	return ok
}

func (b *sessions) remember(session string) {
	if session == "" || b.seenBefore(session) {
		return // events without a number are never repeated
	}
	b.seen[session] = struct{}{}
	b.inOrder = append(b.inOrder, session)
	if len(b.inOrder) > maxSessions {
		delete(b.seen, b.inOrder[0])
		b.inOrder = slices.Delete(b.inOrder, 0, 1)
	}
}

// mayNote bounds how much strangers can add to the journal.
func (p *reports) mayNote(mac boot.MAC, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for m, t := range p.refused {
		if now.Sub(t) >= refusedEvery {
			delete(p.refused, m)
		}
	}
	if _, ok := p.refused[mac]; ok || len(p.refused) >= maxRefused {
		return false
	}
	p.refused[mac] = now
	return true
}
