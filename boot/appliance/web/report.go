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

// Bounds of one report, and of what is remembered to tell a repeated event.
// A boot remembers more than two reports hold, since a device repeats the last.
const (
	MaxEvents    = 256 // in a report
	maxBoots     = 512
	maxSessions  = 2*MaxEvents + 1  // of a boot
	maxSession   = 40               // bytes; a decimal number has 20
	refusedEvery = 10 * time.Second // a note for a machine
	maxRefused   = 32               // machines, in that time
)

func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	mac, err := boot.ParseMAC(r.PathValue("mac"))
	if err != nil {
		text(w, http.StatusBadRequest, "no MAC in the path")
		return
	}
	// Strangers can make us read a report, but not hold all its events.
	var rep struct {
		Boot, Job string
		Events    json.RawMessage
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, boot.MaxReport)).Decode(&rep); err != nil {
		status, why := http.StatusBadRequest, "no report"
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status, why = http.StatusRequestEntityTooLarge, fmt.Sprintf("report is larger than %d bytes", boot.MaxReport)
		}
		text(w, status, why)
		return
	}
	id, err := s.Verify(r.Context(), mac, rep.Boot, rep.Job, bearer(r))
	if err != nil {
		s.refuse(r, mac)
		text(w, http.StatusForbidden, "wrong token for this machine, boot and job")
		return
	}
	all := boot.Report{Boot: rep.Boot, Job: rep.Job}
	if json.Unmarshal(rep.Events, &all.Events) != nil {
		text(w, http.StatusBadRequest, "no report: events are not as they should be")
		return
	}
	if why := checkReport(&all); why != "" {
		text(w, http.StatusBadRequest, why)
		return
	}
	if err := s.take(r, id, mac, &all); err != nil {
		s.broken(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// checkReport says what is wrong with a report, before any of it is taken.
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

// take records the events that are new. One boot's reports are taken one after
// the other, so that a repeated one waits for the first.
func (s *Server) take(r *http.Request, id string, mac boot.MAC, rep *boot.Report) error {
	b := s.reports.of(id + " " + rep.Boot)
	b.mu.Lock()
	defer b.mu.Unlock()
	// What is begun is brought to an end though the device may hang up.
	ctx := context.WithoutCancel(r.Context())
	for _, ev := range rep.Events {
		if b.has(ev.Session) {
			continue
		}
		// What a device says of who it is and what time it is does not count.
		ev.Machine, ev.MAC, ev.Boot, ev.Job, ev.Seq, ev.Time = id, mac, rep.Boot, rep.Job, 0, time.Now()
		ev = journal.Clean(ev) // what it says may be kept for good
		if s.Reported != nil {
			if err := s.Reported(ctx, id, ev); err != nil {
				return fmt.Errorf("take report of machine %s: %w", id, err)
			}
		}
		s.Journal.Add(ev)
		b.add(ev.Session)
	}
	return nil
}

// refuse notes a report that nobody should have sent: as what the appliance
// saw, not as what the machine did, and not more often than a person can use.
func (s *Server) refuse(r *http.Request, mac boot.MAC) {
	m, err := s.Registry.Find(r.Context(), mac.String())
	slot := mac
	if err != nil {
		slot = boot.MAC{} // one for all that nobody heard of: MACs are easily made up
	}
	if s.reports.mayNote(slot, time.Now()) {
		s.Journal.Add(boot.Event{Machine: m.ID, MAC: mac, Kind: boot.KindRefused, Proto: "http",
			Text: "a report from " + client(r).String() + " was refused: wrong token for this machine, boot and job"})
	}
}

// reports remembers, in bounded memory, what was reported and what was refused.
type reports struct {
	boots *limit.Recent[string, *sessions] // by machine and boot

	mu      sync.Mutex
	refused map[boot.MAC]time.Time
}

func newReports() *reports {
	return &reports{boots: limit.NewRecent[string, *sessions](maxBoots), refused: map[boot.MAC]time.Time{}}
}

// sessions are the latest events of one boot.
type sessions struct {
	mu   sync.Mutex
	seen map[string]struct{}
	last []string // the same, oldest first
}

// of returns the sessions of one boot, which is then the latest one heard.
func (p *reports) of(key string) (b *sessions) {
	p.boots.Update(key, func(known *sessions) *sessions {
		if b = known; b == nil {
			b = &sessions{seen: map[string]struct{}{}}
		}
		return b
	})
	return b
}

func (b *sessions) has(session string) bool {
	_, ok := b.seen[session]
	return ok
}

func (b *sessions) add(session string) {
	if session == "" || b.has(session) {
		return // "" cannot be told apart
	}
	b.seen[session] = struct{}{}
	b.last = append(b.last, session)
	if len(b.last) > maxSessions {
		delete(b.seen, b.last[0])
		b.last = slices.Delete(b.last, 0, 1)
	}
}

// mayNote bounds what strangers write into the journal.
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
