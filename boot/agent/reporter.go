package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/human"
)

const (
	maxQueue = 256 // events that wait to be sent; progress goes first
	maxBatch = 32  // events of one POST, at 64 KiB with everything at its longest
	maxText  = 1000
)

// errRefused: the appliance took the connection and will not have the events.
var errRefused = errors.New("the appliance refuses the report")

// A Reporter sends a machine's events to the appliance, in order and in the
// background. It sends each until it is acknowledged. What happens before there
// is a plan waits for one.
type Reporter struct {
	log    *slog.Logger
	timing Timing
	http   *http.Client

	mu       sync.Mutex
	boot     string
	target   *target
	queue    []boot.Event
	inFlight int // of queue: being sent
	last     int // number of the newest event in this boot
	acked    int // every event up to this number was acknowledged, or given up
	lost     int // newest of those that the appliance could not read
	alone    int // up to this number events go one by one, to find the one that it cannot
	wrote    time.Time
	heard    time.Time     // when the appliance answered last, whatever it said
	changed  chan struct{} // closed and made anew when acked, target or refused change
	refused  error         // the target's answer, until there is another target
	wake     chan struct{}
}

// A target is where a plan says events go.
type target struct {
	url, token, machine, boot, job string
	mac                            boot.MAC
}

func newTarget(p *boot.Plan) *target {
	if p.Report == "" {
		return nil
	}
	return &target{url: boot.ReportURL(p.Report, p.MAC), token: p.Token, machine: p.Machine, mac: p.MAC, boot: p.Boot, job: p.Job}
}

func newReporter(log *slog.Logger, timing Timing, bootID string) *Reporter {
	return &Reporter{
		log: log, timing: timing, boot: bootID,
		http: &http.Client{
			Timeout: timing.Post,
			// No proxy of an environment, and no other place than the plan's.
			Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: timing.Post}).DialContext, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		changed: make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
}

// use directs events to where a plan wants them.
func (r *Reporter) use(p *boot.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target, r.refused = newTarget(p), nil
	if r.target == nil {
		r.log.Warn("the plan names nowhere to report to")
	}
	r.notify()
}

// Report queues an event and returns its number. Progress of a write is taken
// once every Timing.Progress at most. A newer one replaces an older one that has
// not left yet.
func (r *Reporter) Report(ev boot.Event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	ev.Uptime, ev.Boot = uptime(), r.boot
	ev.Text = human.Cut(ev.Text, maxText)
	if t := r.target; t != nil {
		ev.Machine, ev.MAC, ev.Job = t.machine, t.mac, t.job
	}
	if ev.Kind == boot.KindWrite {
		if time.Since(r.wrote) < r.timing.Progress {
			return r.last
		}
		r.wrote = time.Now()
		if n := len(r.queue); n > r.inFlight && r.queue[n-1].Kind == boot.KindWrite {
			ev.Session = r.queue[n-1].Session
			r.queue[n-1] = ev
			return r.last
		}
	}
	r.last++
	ev.Session = strconv.Itoa(r.last)
	if len(r.queue) >= maxQueue {
		r.drop()
	}
	r.queue = append(r.queue, ev)
	r.notify()
	return r.last
}

// drop makes room. The oldest progress that is not being sent goes first, or
// else the oldest event that is not.
func (r *Reporter) drop() {
	waiting := r.queue[r.inFlight:]
	i := slices.IndexFunc(waiting, func(ev boot.Event) bool { return ev.Kind == boot.KindWrite })
	i = max(i, 0) + r.inFlight
	r.queue = slices.Delete(r.queue, i, i+1)
}

// notify wakes the sender and whoever waits in Deliver. r.mu is held.
func (r *Reporter) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Deliver queues an event and waits until it was acknowledged, with everything
// before it. It gives up when ctx ends. It returns errRefused when the appliance
// will have nothing of this plan any more, or not this event. Where the plan
// names nowhere to report to there is no one to wait for.
func (r *Reporter) Deliver(ctx context.Context, ev boot.Event) error {
	n := r.Report(ev)
	for {
		r.mu.Lock()
		acked, refused, changed, nowhere := r.acked >= n, r.refused, r.changed, r.target == nil
		lost := r.lost == n
		r.mu.Unlock()
		switch {
		case lost:
			return fmt.Errorf("%w: it cannot read it", errRefused)
		case acked || nowhere:
			return nil
		case refused != nil:
			return refused
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("report: %w", ctx.Err())
		case <-changed:
		}
	}
}

// deliverSoon is Deliver with little patience, for what the machine can leave
// without.
func (r *Reporter) deliverSoon(ctx context.Context, ev boot.Event) error {
	ctx, cancel := context.WithTimeout(ctx, r.timing.Farewell)
	defer cancel()
	return r.Deliver(ctx, ev)
}

// deliverOrWarn is deliverSoon whose error is only logged.
func (r *Reporter) deliverOrWarn(ctx context.Context, ev boot.Event) {
	if err := r.deliverSoon(ctx, ev); err != nil {
		r.log.Warn("not acknowledged", "report", ev.Text, "err", err)
	}
}

// silence is how long the appliance has not answered, but not more than since then.
func (r *Reporter) silence(then time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard.After(then) {
		then = r.heard
	}
	return time.Since(then)
}

// run sends until ctx ends.
func (r *Reporter) run(ctx context.Context) {
	wait := backoff{first: r.timing.Report, most: r.timing.ReportMax}
	for ctx.Err() == nil {
		t, batch := r.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
			continue
		}
		err := r.post(ctx, t, batch)
		r.settle(t, batch, err)
		if bad := new(badEvents); err == nil || errors.Is(err, errRefused) || errors.As(err, &bad) {
			wait.reset()
			continue
		}
		r.log.Info("report is tried again", "events", len(batch), "err", err)
		sleep(ctx, wait.wait())
	}
}

// take marks the next events as in flight, if there is somewhere to send them.
func (r *Reporter) take() (*target, []boot.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.target == nil || r.refused != nil {
		return nil, nil
	}
	r.inFlight = min(len(r.queue), maxBatch)
	if r.inFlight > 1 && number(r.queue[0]) <= r.alone {
		r.inFlight = 1
	}
	return r.target, slices.Clone(r.queue[:r.inFlight])
}

// settle takes note of what became of a batch.
func (r *Reporter) settle(t *target, batch []boot.Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight = 0
	var bad *badEvents
	newest := number(batch[len(batch)-1])
	switch {
	case errors.As(err, &bad) && len(batch) > 1:
		r.alone = newest
	case err == nil, bad != nil:
		// An event that nobody understands would block those behind it.
		r.acked = newest
		r.queue = slices.Delete(r.queue, 0, len(batch))
		if bad != nil {
			r.lost = newest
			r.log.Warn("event is lost", "kind", batch[0].Kind, "err", err)
		}
	case errors.Is(err, errRefused) && r.target == t:
		r.refused = err
		r.log.Warn("report", "err", err)
	}
	r.notify()
}

// number is an event's within this boot.
func number(ev boot.Event) int {
	n, _ := strconv.Atoi(ev.Session)
	return n
}

// badEvents: the appliance says the request itself is wrong.
type badEvents struct{ status string }

func (b *badEvents) Error() string { return "the appliance cannot read events: " + b.status }

func (r *Reporter) post(ctx context.Context, t *target, events []boot.Event) error {
	body, err := json.Marshal(boot.Report{Boot: t.boot, Job: t.job, Events: events})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err) // the plan's URL is none
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r.mu.Lock()
	r.heard = time.Now()
	r.mu.Unlock()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	status := fmt.Sprintf("%s %.100q", resp.Status, bytes.TrimSpace(text))
	switch c := resp.StatusCode; {
	case c/100 == 2:
		io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
		return nil
	case c == http.StatusUnauthorized, c == http.StatusForbidden, c == http.StatusNotFound:
		return fmt.Errorf("%w: %s", errRefused, status)
	case c == http.StatusBadRequest, c == http.StatusRequestEntityTooLarge, c == http.StatusUnprocessableEntity:
		return &badEvents{status}
	}
	return errors.New("the appliance answers " + status)
}

// refuse reports that a plan cannot be taken. It does so in the name of that
// plan: its token is good for nothing else. Where that does not work either, the
// event waits for a plan that is good.
func (r *Reporter) refuse(ctx context.Context, p *boot.Plan, ev boot.Event) {
	if t := newTarget(p); t != nil && t.token != "" {
		own := ev
		own.Uptime, own.Machine, own.MAC, own.Boot, own.Job, own.Session = uptime(), t.machine, t.mac, t.boot, t.job, "refused-"+r.boot
		err := r.post(ctx, t, []boot.Event{own})
		if err == nil {
			return
		}
		r.log.Info("report of a refused plan", "err", err)
	}
	r.Report(ev)
}

// uptime is how long the kernel runs. It is the device's clock: most have no
// other that is right.
func uptime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
