package tftp

import "slices"

const maxWorkers = 64

// workers is a pool that runs what may take long: a file that is opened, an end
// that is reported. Where files take long to open there are more jobs than
// workers. Then those of transfers that have ended are dropped now and then.
type workers struct {
	queue   []job
	limit   int // jobs in the queue before it is looked through
	running int
}

// A job is run without the engine's lock.
type job struct {
	run   func()
	opens *transfer // whose file it opens; nil: another job
}

// do has a worker run a job. The engine is locked.
func (w *workers) do(e *engine, j job) {
	if w.running == maxWorkers {
		w.limit = max(w.limit, 2*e.limits.HalfOpen)
		if w.queue = append(w.queue, j); len(w.queue) > w.limit {
			w.queue = slices.DeleteFunc(w.queue, func(j job) bool { return j.opens != nil && j.opens.life.ended })
			w.limit = 2 * len(w.queue)
		}
		return
	}
	w.running++
	e.running.Go(func() {
		for j.run != nil {
			j.run()
			e.mu.Lock()
			if j = (job{}); len(w.queue) > 0 {
				j, w.queue = w.queue[0], w.queue[1:]
			} else {
				w.running--
				w.limit = 0
			}
			e.mu.Unlock()
		}
	})
}
