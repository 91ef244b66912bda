package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/registry"
)

func (s *Server) row(m boot.Machine) boot.Row {
	row := boot.Row{Machine: m, Events: s.Journal.Machine(m.ID)}
	row.Status = s.Status(row.Events)
	if n := len(row.Events); n > 0 {
		last := row.Events[n-1] // a copy, so that row does not keep all events in memory
		row.Last = &last
	}
	return row
}

func (s *Server) serveMachines(w http.ResponseWriter, r *http.Request) {
	all, err := s.Registry.List(r.Context())
	if err != nil {
		s.writeInternalError(w, r, err)
		return
	}
	// One row at a time: a client that reads slowly holds only the IDs in
	// memory.
	ids := make([]string, len(all))
	for i, m := range all {
		ids[i] = m.ID
	}
	all = nil
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	out := &chunkedResponse{ResponseWriter: w, stall: s.Timing.Stall}
	separator := "["
	for _, id := range ids {
		m, err := s.Registry.Find(r.Context(), id)
		if err != nil {
			continue // forgotten meanwhile
		}
		row := s.row(m)
		row.Events = nil
		raw, err := json.MarshalIndent(row, "  ", "  ")
		if err != nil {
			s.Log.Error("answer HTTP request", "path", r.URL.Path, "err", err)
			continue
		}
		if _, err := fmt.Fprintf(out, "%s\n  %s", separator, raw); err != nil {
			return // the client left
		}
		separator = ","
	}
	if separator == "[" {
		io.WriteString(out, "[]\n")
	} else {
		io.WriteString(out, "\n]\n")
	}
}

func (s *Server) serveMachine(w http.ResponseWriter, r *http.Request) {
	if m, ok := s.findMachine(w, r); ok {
		s.writeJSON(w, s.row(m))
	}
}

// findMachine returns the machine of the path. If there is none, it answers 404.
func (s *Server) findMachine(w http.ResponseWriter, r *http.Request) (boot.Machine, bool) {
	m, err := s.Registry.Find(r.Context(), r.PathValue("machine"))
	switch {
	case errors.Is(err, registry.ErrNotFound):
		writeText(w, http.StatusNotFound, "no machine with this id or MAC was heard")
	case err != nil:
		s.writeInternalError(w, r, err)
	}
	return m, err == nil
}

// writeInternalError answers 500 and logs the error. The client does not see it.
func (s *Server) writeInternalError(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.Error("answer HTTP request", "path", r.URL.Path, "err", err)
	writeText(w, http.StatusInternalServerError, "the appliance could not do it; its log says why")
}

func (s *Server) writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(&chunkedResponse{ResponseWriter: w, stall: s.Timing.Stall})
	e.SetIndent("", "  ")
	e.Encode(v) // an error means that the client left
}

// eventsAtOnce is how many past events are in memory while they are sent.
const eventsAtOnce = 64

// serveEvents streams the journal as server-sent events (WHATWG HTML section
// 9.2). id is the event's Seq, data its JSON. A client that was away names its
// last Seq, in Last-Event-ID or ?since=. It gets the later events that are
// still kept. ?since=0 asks for all.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	since := r.Header.Get("Last-Event-ID")
	if since == "" {
		since = r.URL.Query().Get("since")
	}
	last, err := strconv.ParseUint(since, 10, 64)
	if since != "" && err != nil {
		writeText(w, http.StatusBadRequest, "since: want the seq of an event")
		return
	}
	if from := clientAddr(r); from.IsValid() { // the unix socket has no address and no bound
		if !s.streams.Take(from) {
			w.Header().Set("Retry-After", "10")
			writeText(w, http.StatusServiceUnavailable, "too many clients follow the events")
			return
		}
		defer s.streams.Release(from)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	added := s.Journal.Subscribe(ctx) // before reading the past, so that no event is missed
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := &chunkedResponse{ResponseWriter: w, stall: s.Timing.Stall}
	if since != "" {
		if s.Journal.Last() < last {
			last = 0 // the client's Seq is from before a restart
		}
		for {
			past := s.Journal.Since(last, eventsAtOnce)
			for _, ev := range past {
				if writeEvent(out, ev) != nil {
					return
				}
				last = ev.Seq
			}
			if len(past) == 0 {
				break
			}
		}
	}
	beat := time.NewTicker(s.Timing.Beat)
	defer beat.Stop()
	for {
		out.extendDeadline()
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			_, err = io.WriteString(out, ":\n\n")
		case ev, ok := <-added:
			if !ok {
				return
			}
			if since != "" && ev.Seq <= last {
				continue // already sent from the past
			}
			err = writeEvent(out, ev)
		}
		if err != nil {
			return
		}
	}
}

func writeEvent(w io.Writer, ev boot.Event) error {
	raw, err := json.Marshal(ev)
	if err == nil {
		_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", ev.Seq, raw)
	}
	return err
}

// orderHandler takes a person's order. Cookies do not count. So no page in a
// browser can order in that person's name.
func (s *Server) orderHandler(trusted bool, action boot.Action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !trusted && !s.MayOrder(bearer(r)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeText(w, http.StatusUnauthorized, "needs the token that the appliance keeps in its state folder")
			return
		}
		var order struct {
			Overwrite bool `json:"overwrite"`
		}
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
		d.DisallowUnknownFields() // a misspelt overwrite must not pass
		if err := d.Decode(&order); err != nil && !errors.Is(err, io.EOF) {
			writeText(w, http.StatusBadRequest, `want {"overwrite": true or false}`)
			return
		}
		m, ok := s.findMachine(w, r)
		if !ok {
			return
		}
		if err := s.Control(r.Context(), m.ID, boot.Order{Action: action, Overwrite: order.Overwrite}); err != nil {
			s.writeInternalError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// bearer returns the bearer token of a request (RFC 6750 section 2.1), ""
// without one.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
