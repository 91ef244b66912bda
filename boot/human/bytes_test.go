package human

import (
	"math"
	"testing"
)

func TestBytes(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{-1, "-1 B"}, {0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {112_721_920, "107.5 MiB"},
		{1023 << 10, "1.0 MiB"}, {999 << 10, "999.0 KiB"}, {math.MaxInt64, "8.0 EiB"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := Bytes(tt.n); got != tt.want || len(got) > 9 {
				t.Errorf("%d: %q, want %q in at most nine columns", tt.n, got, tt.want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{0, "0 bytes"}, {1023, "1023 bytes"}, {256 << 20, "256 MiB"}, {1<<30 + 1<<20, "1025 MiB"}, {8 << 30, "8 GiB"},
		{250059350016, "232.9 GiB (250059350016 bytes)"}, {3<<20 - 1, "3.0 MiB (3145727 bytes)"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := Size(tt.n); got != tt.want {
				t.Errorf("%d: %q, want %q", tt.n, got, tt.want)
			}
		})
	}
}

func TestCount(t *testing.T) {
	if got := Count(5); got != "5 bytes" {
		t.Error(got)
	}
	if got := Count(-1); got != "an unknown number of bytes" {
		t.Error(got)
	}
}
