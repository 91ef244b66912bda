package human

import (
	"fmt"
	"strings"
	"time"
)

// BarWidth is the length of every Bar in columns. It fits a serial console of
// 80 with a prompt before it. The next bar overwrites it after a \r.
const BarWidth = 60

// A Bar is how far a transfer is.
type Bar struct {
	Label string  // shown at the left, such as the protocol; 6 columns
	Done  int64   // bytes
	Total int64   // bytes, -1 unknown
	Rate  float64 // bytes a second, 0 unknown
}

// String renders one line of BarWidth ASCII columns, without an end of line:
//
//	ftp    [########............]  42% 107.5 MiB  34.2 MiB/s  0:04
func (b Bar) String() string {
	const cells = 16
	label := fmt.Sprintf("%-6.6s", ascii(b.Label))
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
