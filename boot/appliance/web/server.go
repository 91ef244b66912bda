package web

import (
	"cmp"
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

// Timing holds how long the server waits. A zero field means that of
// DefaultTiming.
type Timing struct {
	// Header is for the client to send a request's header. It fits into two
	// segments. Three retransmissions come after 1, 2 and 4 s, and some time is
	// left.
	Header time.Duration
	// Request is for the client to send the whole request. The largest is a
	// report of 64 KiB, which takes 10 s at 64 kbit/s.
	Request time.Duration
	// Idle is how long a connection stays open between two requests. A device
	// that flashes reports once a second.
	Idle time.Duration
	// Stall is for the client to take the next chunk of a response. 1 MiB in 60
	// s is 17 kB/s. Any link that carries images is faster.
	Stall time.Duration
	// Beat is the interval of comments on an event stream without events.
	// Proxies close idle connections after 30 s or more.
	Beat time.Duration
	// Stop is for responses to finish when the server ends. Serve promises two
	// seconds, and this leaves one.
	Stop time.Duration
}

// DefaultTiming has the value of each field that Server.Timing leaves at zero.
var DefaultTiming = Timing{
	Header:  10 * time.Second,
	Request: 20 * time.Second,
	Idle:    60 * time.Second,
	Stall:   60 * time.Second,
	Beat:    15 * time.Second,
	Stop:    time.Second,
}

// withDefaults replaces each zero field by that of DefaultTiming.
func (t Timing) withDefaults() Timing {
	d := DefaultTiming
	return Timing{
		Header:  cmp.Or(t.Header, d.Header),
		Request: cmp.Or(t.Request, d.Request),
		Idle:    cmp.Or(t.Idle, d.Idle),
		Stall:   cmp.Or(t.Stall, d.Stall),
		Beat:    cmp.Or(t.Beat, d.Beat),
		Stop:    cmp.Or(t.Stop, d.Stop),
	}
}

// chunk is how many bytes a client must take within Timing.Stall.
const chunk = 1 << 20

// Bounds of what clients may use.
const (
	maxHeader      = 16 << 10 // bytes
	maxStreams     = 64       // clients of /api/events, without those of the unix socket
	maxHostStreams = 16       // of those, from one address
)

// DefaultLimits bounds the connections. It suits a bench of 400 devices with
// one connection each. Behind a router they may share one address.
var DefaultLimits = limit.Bounds{Total: 1024, PerHost: 512}

// A Server answers HTTP requests. Its fields are set before the first Serve and
// not changed afterwards.
type Server struct {
	Tree     *files.Tree
	Journal  *journal.Journal
	Registry *registry.Registry
	Status   func([]boot.Event) string // a machine's status, from its events in order

	// Verify returns the ID of the machine that may report with this token.
	Verify func(ctx context.Context, mac boot.MAC, bootID, job, token string) (machine string, err error)
	// Reported is called for each new event of a device, in order. This happens
	// before the journal has the event and before the device gets its response.
	// On an error the device sends the event again. So Reported may be called
	// twice for one event.
	Reported func(ctx context.Context, machine string, ev boot.Event) error
	// MayOrder reports whether a bearer token may call Control over TCP. "" is
	// no token. The unix socket needs none.
	MayOrder func(token string) bool
	// Control records an order for a machine.
	Control func(ctx context.Context, machine string, order boot.Order) error

	Log    *slog.Logger // nil: discarded
	Timing Timing
	Limits limit.Bounds // zero: DefaultLimits

	once    sync.Once
	reports *reports
	conns   limit.Conns
	streams limit.Conns // clients of /api/events
}

// setDefaults sets the defaults, once.
func (s *Server) setDefaults() {
	s.once.Do(func() {
		if s.Log == nil {
			s.Log = slog.New(slog.DiscardHandler)
		}
		s.Timing = s.Timing.withDefaults()
		s.conns.Bounds = s.Limits.Or(DefaultLimits)
		s.reports = newReports(s)
		s.streams.Bounds = limit.Bounds{Total: maxStreams, PerHost: maxHostStreams}
	})
}

// Serve answers requests on a TCP listener, and closes it. It returns nil
// within two seconds after ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.setDefaults()
	return s.serve(ctx, s.conns.Listen(l, nil), false)
}

// ServeControl answers requests on a unix socket. Who may open the socket may
// give orders. Else it answers as Serve does.
func (s *Server) ServeControl(ctx context.Context, l net.Listener) error {
	s.setDefaults()
	return s.serve(ctx, l, true)
}

func (s *Server) serve(ctx context.Context, l net.Listener, trusted bool) error {
	// Requests end with the server. Otherwise an event stream would never end.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           s.handler(trusted),
		ReadHeaderTimeout: s.Timing.Header,
		ReadTimeout:       s.Timing.Request,
		WriteTimeout:      s.Timing.Stall, // for one chunk, see chunkedResponse
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
		srv.Close() // cuts downloads; a device continues elsewhere or later
	}
	<-done
	return nil
}

// handler routes requests. Paths of the API go before files of the same name.
func (s *Server) handler(trusted bool) http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok") })
	api.HandleFunc("GET /api/", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusNotFound, "no such call") })
	api.HandleFunc("GET /api/machines", s.serveMachines)
	api.HandleFunc("GET /api/machines/{machine}", s.serveMachine)
	api.HandleFunc("GET /api/events", s.serveEvents)
	api.HandleFunc("POST /api/machines/{mac}/events", s.reports.serve)
	api.HandleFunc("POST /api/machines/{machine}/flash", s.orderHandler(trusted, boot.ActionFlash))
	api.HandleFunc("POST /api/machines/{machine}/local", s.orderHandler(trusted, boot.ActionLocal))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No response is a page that may run scripts, and no file becomes one.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		if p := r.URL.Path; p == "/healthz" || strings.HasPrefix(p, "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		// Files bypass the mux. It redirects //grubx64.efi, and firmware does
		// not always follow. files.Clean resolves such names.
		s.serveFile(w, r)
	})
}

// writeText answers with one line of text.
func writeText(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, line)
}
