package pull

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

func TestTiming(t *testing.T) {
	d := DefaultTiming
	if got := 3*d.Stall + d.MaxBackoff; got != 75*time.Second {
		t.Errorf("a silent outage costs %v after it, the comment says 75 s", got)
	}
	rto := time.Duration(0)
	for r := 200 * time.Millisecond; r <= 6400*time.Millisecond; r *= 2 {
		rto += r
	}
	if d.Stall <= rto {
		t.Errorf("stall %v is within TCP's own silence of %v", d.Stall, rto)
	}
	if d.GiveUp < 2*time.Minute+3*d.Stall+d.MaxBackoff {
		t.Errorf("gives up after %v, before an appliance has rebooted", d.GiveUp)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		want *= time.Second
		if got := d.longest(i + 1); got != want {
			t.Errorf("longest wait %d is %v, want %v", i+1, got, want)
		}
		for range 100 {
			if got := d.wait(i + 1); got < want/2 || got > want {
				t.Errorf("wait %d is %v, want %v to %v", i+1, got, want/2, want)
			}
		}
	}
	if got := d.longest(1 << 20); got != d.MaxBackoff {
		t.Errorf("after very many rounds %v", got)
	}
}
