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
		last := row.Events[n-1] // a copy, that does not hold on to all of them
		row.Last = &last
	}
	return row
}

func (s *Server) machines(w http.ResponseWriter, r *http.Request) {
	all, err := s.Registry.List(r.Context())
	if err != nil {
		s.broken(w, r, err)
		return
	}
	// Row by row, so that a client who reads slowly holds no more than the ids.
	ids := make([]string, len(all))
	for i, m := range all {
		ids[i] = m.ID
	}
	all = nil
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	out := &answer{ResponseWriter: w, stall: s.Timing.Stall}
	before := "["
	for _, id := range ids {
		m, err := s.Registry.Find(r.Context(), id)
		if err != nil {
			continue // forgotten meanwhile
		}
		row := s.row(m)
		row.Events = nil
		raw, err := json.MarshalIndent(row, "  ", "  ")
		if err != nil {
			s.Log.Error("answer HTTP request", "path", r.URL.Path, "error", err)
			continue
		}
		if _, err := fmt.Fprintf(out, "%s\n  %s", before, raw); err != nil {
			return // the client has left
		}
		before = ","
	}
	if before == "[" {
		io.WriteString(out, "[]\n")
	} else {
		io.WriteString(out, "\n]\n")
	}
}

func (s *Server) machine(w http.ResponseWriter, r *http.Request) {
	if m, ok := s.find(w, r); ok {
		s.json(w, s.row(m))
	}
}

// find returns the machine of the path, or answers that there is none.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (boot.Machine, bool) {
	m, err := s.Registry.Find(r.Context(), r.PathValue("machine"))
	switch {
	case errors.Is(err, registry.ErrNotFound):
		text(w, http.StatusNotFound, "no machine with this id or MAC was heard")
	case err != nil:
		s.broken(w, r, err)
	}
	return m, err == nil
}

// broken answers for what went wrong here; why is for the log.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.Error("answer HTTP request", "path", r.URL.Path, "error", err)
	text(w, http.StatusInternalServerError, "the appliance could not do it; its log says why")
}

func (s *Server) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(&answer{ResponseWriter: w, stall: s.Timing.Stall})
	e.SetIndent("", "  ")
	e.Encode(v) // an error is the client's, who has left
}

// atOnce is how many past events a stream holds while it sends them.
const atOnce = 64

// events streams the journal as server-sent events (WHATWG HTML section 9.2):
// id is the event's seq, data its JSON. A client that was away names the last
// seq it has in Last-Event-ID or ?since= and gets what is still kept of the
// rest; ?since=0 asks for all.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	since := r.Header.Get("Last-Event-ID")
	if since == "" {
		since = r.URL.Query().Get("since")
	}
	last, err := strconv.ParseUint(since, 10, 64)
	if since != "" && err != nil {
		text(w, http.StatusBadRequest, "since: want the seq of an event")
		return
	}
	if from := client(r); from.IsValid() { // who is at the unix socket is no stranger
		if !s.streams.Take(from) {
			w.Header().Set("Retry-After", "10")
			text(w, http.StatusServiceUnavailable, "too many clients follow the events")
			return
		}
		defer s.streams.Release(from)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	coming := s.Journal.Subscribe(ctx) // before looking back, so that none is missed
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := &answer{ResponseWriter: w, stall: s.Timing.Stall}
	if since != "" {
		if s.Journal.Last() < last {
			last = 0 // counted by an appliance that was restarted meanwhile
		}
		for {
			past := s.Journal.Since(last, atOnce)
			for _, ev := range past {
				if send(out, ev) != nil {
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
		out.extend()
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			_, err = io.WriteString(out, ":\n\n")
		case ev, ok := <-coming:
			if !ok {
				return
			}
			if since != "" && ev.Seq <= last {
				continue // looked back at already
			}
			err = send(out, ev)
		}
		if err != nil {
			return
		}
	}
}

func send(w io.Writer, ev boot.Event) error {
	raw, err := json.Marshal(ev)
	if err == nil {
		_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", ev.Seq, raw)
	}
	return err
}

// control takes what a person asks for. No cookie counts, so that no page in a
// browser can ask in that person's name.
func (s *Server) control(trusted bool, action boot.Action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !trusted && !s.MayOrder(bearer(r)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			text(w, http.StatusUnauthorized, "needs the token that the appliance keeps in its state folder")
			return
		}
		var ask struct {
			Overwrite bool `json:"overwrite"`
		}
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
		d.DisallowUnknownFields() // an overwrite that is misspelt must not pass
		if err := d.Decode(&ask); err != nil && !errors.Is(err, io.EOF) {
			text(w, http.StatusBadRequest, `want {"overwrite": true or false}`)
			return
		}
		m, ok := s.find(w, r)
		if !ok {
			return
		}
		if err := s.Control(r.Context(), m.ID, boot.Order{Action: action, Overwrite: ask.Overwrite}); err != nil {
			s.broken(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// bearer returns the token of a request (RFC 6750 section 2.1), "" where it
// has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
