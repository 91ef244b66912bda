package human

import "time"

// A Meter turns a count of bytes into a rate. It is the mean of the last few
// seconds, so that it follows the link and does not flicker.
type Meter struct {
	samples []sample
}

type sample struct {
	at   time.Time
	done int64
}

// meterSpan is how far back the mean reaches.
const meterSpan = 5 * time.Second

// Add notes that done bytes are there at the time now. It keeps ten samples a
// second at most.
func (m *Meter) Add(now time.Time, done int64) {
	if n := len(m.samples); n > 1 && now.Sub(m.samples[n-2].at) < meterSpan/50 {
		m.samples = m.samples[:n-1] // the newest is replaced
	}
	m.samples = append(m.samples, sample{now, done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= meterSpan {
		m.samples = m.samples[1:]
	}
}

// Rate is in bytes a second, 0 before there are two samples.
func (m *Meter) Rate() float64 {
	if len(m.samples) < 2 {
		return 0
	}
	a, b := m.samples[0], m.samples[len(m.samples)-1]
	if d := b.at.Sub(a.at).Seconds(); d > 0 && b.done > a.done {
		return float64(b.done-a.done) / d
	}
	return 0
}
