package wire

import (
	"cmp"
	"time"
)

// Timing of a server on one interface. A field that is 0 stands for the default.
type Timing struct {
	// Pause follows a read error such as ENETDOWN, so that a link that is down
	// costs no CPU. It is back within a client's first retry, 4 s.
	Pause time.Duration
	// Look is how often the interface is looked after. One that was away is
	// back within a client's first retry, 4 s.
	Look time.Duration
}

// DefaultTiming is used where nothing else is said.
var DefaultTiming = Timing{Pause: 200 * time.Millisecond, Look: 2 * time.Second}

// OrDefault fills in the fields that are 0.
func (t Timing) OrDefault() Timing {
	return Timing{cmp.Or(t.Pause, DefaultTiming.Pause), cmp.Or(t.Look, DefaultTiming.Look)}
}
