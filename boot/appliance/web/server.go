// Package web is the HTTP server: the served tree, read-only, and the API that
// shows what happens to machines, takes their reports, and on a unix socket or
// with a token takes what a person asks for.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/appliance/journal"
	"github.com/bootlace/bootlace/boot/appliance/limit"
	"github.com/bootlace/bootlace/boot/appliance/registry"
)

// Timing holds how long the server waits for whom.
type Timing struct {
	// Header is for a client to send the header of its request, which fits in
	// two segments: three retransmissions at 1, 2 and 4 s, and some.
	Header time.Duration
	// Request is for the whole request. The largest is a report of 64 KiB,
	// which takes 10 s at 64 kbit/s.
	Request time.Duration
	// Idle keeps a connection between two requests; a device that flashes
	// reports once a second.
	Idle time.Duration
	// Stall is for a client to take the next chunk of an answer: 1 MiB in 60 s
	// is 17 kB/s, slower than any link that an image is sent over.
	Stall time.Duration
	// Beat is how often a quiet event stream says that it lives; proxies drop
	// connections after 30 s or more.
	Beat time.Duration
	// Stop is for answers under way when the server is told to end, and leaves
	// a second of the two that Serve promises.
	Stop time.Duration
}

// DefaultTiming is used where Server.Timing is zero.
var DefaultTiming = Timing{
	Header:  10 * time.Second,
	Request: 20 * time.Second,
	Idle:    60 * time.Second,
	Stall:   60 * time.Second,
	Beat:    15 * time.Second,
	Stop:    time.Second,
}

// chunk is what a client must take within Timing.Stall.
const chunk = 1 << 20

// What strangers may take at most.
const (
	maxHeader      = 16 << 10 // bytes
	maxStreams     = 64       // clients of /api/events, not counting the unix socket's
	maxHostStreams = 16       // of one address
)

// DefaultLimits bounds the connections: a bench of 400 devices with one each,
// behind one address where there is a router between.
var DefaultLimits = limit.Bounds{Total: 1024, PerHost: 512}

// A Server serves until told to end. Its fields are set before the first Serve
// and not changed afterwards.
type Server struct {
	Tree     *files.Tree
	Journal  *journal.Journal
	Registry *registry.Registry
	Status   func([]boot.Event) string // where a machine stands, from its events in order

	// Verify says which machine may report on this boot and job with token.
	Verify func(ctx context.Context, mac boot.MAC, bootID, job, token string) (machine string, err error)
	// Reported is called for each event that a device reports, in order, before
	// the journal has it and the device is answered. On an error the device is
	// asked to send the event again; so it may be called twice for one event.
	Reported func(ctx context.Context, machine string, ev boot.Event) error
	// MayOrder reports whether a bearer token over TCP lets its holder call
	// Control. "" is no token. Who is at the unix socket always may.
	MayOrder func(token string) bool
	// Control takes an order for a machine.
	Control func(ctx context.Context, machine string, order boot.Order) error

	Log    *slog.Logger // nil: discarded
	Timing Timing
	Limits limit.Bounds // zero: DefaultLimits

	once    sync.Once
	reports *reports
	conns   limit.Conns
	streams limit.Conns // clients of /api/events
}

// init fills in what was left out.
func (s *Server) init() {
	s.once.Do(func() {
		if s.Log == nil {
			s.Log = slog.New(slog.DiscardHandler)
		}
		if s.Timing == (Timing{}) {
			s.Timing = DefaultTiming
		}
		s.conns.Bounds = s.Limits.Or(DefaultLimits)
		s.reports = newReports()
		s.streams.Bounds = limit.Bounds{Total: maxStreams, PerHost: maxHostStreams}
	})
}

// Serve answers on a TCP listener, which it closes, until ctx ends, and
// returns nil then, within two seconds.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.init()
	return s.serve(ctx, s.conns.Listen(l, nil), false)
}

// ServeControl answers on a unix socket, whose permissions say who may ask for
// changes. It answers what Serve does, too.
func (s *Server) ServeControl(ctx context.Context, l net.Listener) error {
	s.init()
	return s.serve(ctx, l, true)
}

func (s *Server) serve(ctx context.Context, l net.Listener, trusted bool) error {
	// Requests end with the server: an event stream would otherwise never.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler(trusted),
		ReadHeaderTimeout: s.Timing.Header,
		ReadTimeout:       s.Timing.Request,
		WriteTimeout:      s.Timing.Stall, // of each chunk, see answer
		IdleTimeout:       s.Timing.Idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		srv.Close()
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	srv.RegisterOnShutdown(cancel)
	grace, stop := context.WithTimeout(context.Background(), s.Timing.Stop)
	defer stop()
	if err := srv.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
		srv.Close() // downloads: the device goes on elsewhere, or later
	}
	<-done
	return nil
}

// handler has the paths. The API goes before files of the same name.
func (s *Server) handler(trusted bool) http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	api.HandleFunc("GET /api/", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusNotFound, "no such call") })
	api.HandleFunc("GET /api/machines", s.machines)
	api.HandleFunc("GET /api/machines/{machine}", s.machine)
	api.HandleFunc("GET /api/events", s.events)
	api.HandleFunc("POST /api/machines/{mac}/events", s.report)
	api.HandleFunc("POST /api/machines/{machine}/flash", s.control(trusted, boot.ActionFlash))
	api.HandleFunc("POST /api/machines/{machine}/local", s.control(trusted, boot.ActionLocal))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Nothing here is a page of ours to a browser, and no file becomes one.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		if p := r.URL.Path; p == "/healthz" || strings.HasPrefix(p, "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		// Past the mux, which redirects //grubx64.efi: files.Clean knows what
		// firmware means, and firmware does not always follow.
		s.file(w, r)
	})
}

// text answers with one line for a person.
func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, line)
}
