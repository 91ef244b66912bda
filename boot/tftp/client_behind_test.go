package tftp

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A window is acknowledged before it is written; the end of a file when all of
// it was.
func TestGetWritesBehind(t *testing.T) {
	synctest.Test(t, testGetWritesBehind)
}

func testGetWritesBehind(t *testing.T) {
	release := make(chan bool)
	w := writing(func(p []byte) (int, error) { <-release; return len(p), nil })
	g := ask(t, t.Context(), &Client{Blksize: 65464, Windowsize: 2, Timing: noTimeouts}, w)
	g.want(rrq("f", "tsize", "0", "blksize", "65464", "windowsize", "2"))
	g.send([]byte("\x00\x06blksize\x0065464\x00windowsize\x002\x00"))
	g.want(ack(0))
	block := pattern(65464)
	g.send(data(1, block))
	g.send(data(2, block))
	g.want(ack(2))
	g.send(data(3, block[:9]))
	g.silent(50 * time.Millisecond)
	release <- true // the window
	g.silent(50 * time.Millisecond)
	release <- true // the end
	g.want(ack(3))
	if err := g.end(); err != nil || g.tr.Bytes != 2*65464+9 {
		t.Errorf("%+v, %v", g.tr, err)
	}
}

// A writing is a function that writes.
type writing func(p []byte) (int, error)

func (w writing) Write(p []byte) (int, error) { return w(p) }

// The size is told before the first byte, once, and may be refused.
func TestGetAnnounce(t *testing.T) {
	wrong := errors.New("not that size")
	for _, tt := range []struct {
		name    string
		options []string // nil: a server without
		size    int64
		err     error
	}{
		{"size", []string{"tsize", "3", "blksize", "8"}, 3, nil},
		{"no size", []string{"blksize", "8"}, -1, nil},
		{"no options", nil, -1, nil},
		{"wrong", []string{"tsize", "3"}, 3, wrong},
		{"wrong, no options", nil, -1, wrong},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			var told []int64
			var got bytes.Buffer
			c := &Client{Timing: noTimeouts, Announce: func(size int64) error {
				if told = append(told, size); got.Len() > 0 {
					t.Error("told after a byte was written")
				}
				return tt.err
			}}
			g := ask(t, t.Context(), c, &got)
			g.want([]byte(asked))
			if tt.options != nil {
				g.send(append([]byte{0, opOACK}, strings.Join(tt.options, "\x00")+"\x00"...))
				if tt.err == nil {
					g.want(ack(0))
				}
			}
			if tt.options == nil || tt.err == nil {
				g.send(data(1, []byte("abc")))
			}
			if tt.err != nil {
				g.want(errp(errCancelled))
			} else {
				g.want(ack(1))
			}
			if err := g.end(); !errors.Is(err, tt.err) || len(told) != 1 || told[0] != tt.size || tt.err == nil && got.String() != "abc" || tt.err != nil && got.Len() > 0 {
				t.Errorf("told %d, %q, %v", told, &got, err)
			}
		})
	}
}

// Who waits for an answer can be stopped as well; there is nobody to be told.
func TestGetCancelAsking(t *testing.T) {
	synctest.Test(t, testGetCancelAsking)
}

func testGetCancelAsking(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := ask(t, ctx, &Client{Timing: noTimeouts}, nil)
	g.want([]byte(asked))
	start := time.Now()
	cancel()
	if err := g.end(); !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	g.silent(30 * time.Millisecond)
}
