package human

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	for _, tt := range []struct {
		bar  Bar
		want string
	}{
		{Bar{Label: "ftp", Done: 112_721_920, Total: 268_435_456, Rate: 35_861_299}, "ftp    [######..........]  41% 107.5 MiB  34.2 MiB/s    0:04"},
		{Bar{Label: "tftp", Done: 0, Total: 100}, "tftp   [................]   0%       0 B                    "},
		{Bar{Label: "http", Done: 99_999, Total: 100_000, Rate: 10}, "http   [###############.]  99%  97.7 KiB      10 B/s    0:00"},
		{Bar{Label: "http", Done: 5, Total: 5, Rate: 10}, "http   [################] 100%       5 B      10 B/s    0:00"},
		{Bar{Label: "http", Done: 5 << 30, Total: -1, Rate: 1 << 20}, "http                             5.0 GiB   1.0 MiB/s        "},
		{Bar{Label: "ftp", Done: 1 << 30, Total: 1 << 40, Rate: 100 << 20}, "ftp    [................]   0%   1.0 GiB 100.0 MiB/s 2:54:36"},
		{Bar{Label: "ftp", Done: 1, Total: 1 << 40, Rate: 1}, "ftp    [................]   0%       1 B       1 B/s   --:--"},
		{Bar{Label: "\x1b[2Jverylong", Done: 7, Total: 5, Rate: 1}, "?[2Jve [################] 100%       7 B       1 B/s    0:00"},
	} {
		t.Run(fmt.Sprintf("%+v", tt.bar), func(t *testing.T) {
			if got := tt.bar.String(); got != tt.want {
				t.Errorf("\n got %q\nwant %q", got, tt.want)
			}
		})
	}
}

// Whatever the numbers, one bar overwrites the other.
func FuzzBar(f *testing.F) {
	f.Add("ftp", int64(1), int64(2), 3.0)
	f.Add("é", int64(-1), int64(-1), math.Inf(1))
	f.Add("", int64(math.MaxInt64), int64(math.MaxInt64), math.NaN())
	f.Add("x", int64(math.MinInt64), int64(math.MaxInt64), math.MaxFloat64)
	f.Fuzz(func(t *testing.T, label string, done, total int64, rate float64) {
		got := Bar{label, done, total, rate}.String()
		if len(got) != BarWidth {
			t.Errorf("%q has %d columns", got, len(got))
		}
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Errorf("%q holds byte %#x", got, c)
			}
		}
	})
}

func TestMeter(t *testing.T) {
	var m Meter
	start := time.Unix(0, 0)
	if m.Rate() != 0 {
		t.Errorf("rate %v of nothing", m.Rate())
	}
	// 1000 bytes a second for 10 s, then 3000.
	done := int64(0)
	for i := range 20_000 {
		if done++; i >= 10_000 {
			done += 2
		}
		m.Add(start.Add(time.Duration(i)*time.Millisecond), done)
		switch i {
		case 9_999:
			if r := m.Rate(); math.Abs(r-1000) > 1 {
				t.Errorf("rate %v, want 1000", r)
			}
		case 19_999:
			if r := m.Rate(); math.Abs(r-3000) > 1 {
				t.Errorf("rate %v, want 3000", r)
			}
		}
	}
	if n := len(m.samples); n > 60 {
		t.Errorf("%d samples are kept", n)
	}
}
