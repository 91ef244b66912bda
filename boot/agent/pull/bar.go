package pull

import (
	"fmt"
	"strings"
	"time"
)

// BarWidth is the length of every Bar in columns: it fits a serial console of
// 80 with a prompt before it, and the next one overwrites it after a \r.
const BarWidth = 60

// A Bar is how far a transfer is.
type Bar struct {
	Label string  // what is shown at the left, such as the protocol; 6 columns
	Done  int64   // bytes
	Total int64   // bytes, -1 unknown
	Rate  float64 // bytes a second, 0 unknown
}

// String renders one line of BarWidth ASCII columns, without an end of line:
//
//	ftp    [########............]  42% 107.5 MiB  34.2 MiB/s  0:04
func (b Bar) String() string {
	const cells = 16
	label := fmt.Sprintf("%-6.6s", printable(b.Label))
	rate, left := "", ""
	if b.Rate > 0 {
		rate = Bytes(int64(b.Rate)) + "/s"
		if b.Total > 0 {
			left = clock(time.Duration(float64(max(b.Total-b.Done, 0)) / b.Rate * float64(time.Second)))
		}
	}
	gauge := strings.Repeat(" ", cells+7)
	if b.Total >= 0 {
		part := 1.0
		if b.Total > 0 {
			part = min(max(float64(b.Done)/float64(b.Total), 0), 1)
		}
		// Rounded down: 100% is said when it is true.
		full := int(part * cells)
		gauge = fmt.Sprintf("[%s%s] %3d%%", strings.Repeat("#", full), strings.Repeat(".", cells-full), int(part*100))
	}
	line := fmt.Sprintf("%s %s %9s %11s %7s", label, gauge, Bytes(b.Done), rate, left)
	return fmt.Sprintf("%-*.*s", BarWidth, BarWidth, line)
}

// Bytes writes a number of bytes with a binary unit in at most nine columns.
func Bytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if v /= 1024; v < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// clock writes a duration as 0:04, 12:34 or 1:02:03; days are not counted.
func clock(d time.Duration) string {
	s := int64((d + time.Second/2) / time.Second)
	switch {
	case d < 0 || s >= 100*3600:
		return "--:--"
	case s >= 3600:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// A Meter turns a count of bytes into a rate: the mean of the last few seconds,
// so that it follows the link and does not flicker.
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
