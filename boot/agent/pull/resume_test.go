package pull

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestResume(t *testing.T) {
	want := content(300_000, 11)
	for scheme, newPeer := range peers {
		t.Run(scheme, func(t *testing.T) {
			dir := tree(t)
			put(t, dir, "image", want)
			modified := time.Now().Add(-time.Hour)
			touch(t, dir, "image", modified)
			url := newPeer(t, dir).url
			for _, tt := range []struct {
				name string
				held []byte
				time time.Time
				want error
			}{
				{"half", want[:150_000], time.Now(), nil},
				{"all", want, time.Now(), nil},
				{"too much", append(slices.Clone(want), 0), time.Now(), ErrChanged},
				{"older than the file", want[:150_000], modified.Add(-time.Minute), nil},
				{"older, and another", content(150_000, 99), modified.Add(-time.Minute), ErrChanged},
			} {
				t.Run(tt.name, func(t *testing.T) {
					got := bytes.NewBuffer(slices.Clone(tt.held))
					p, changes := puller(t, url)
					err := p.Resume(guarded(t), File{Name: "image", Size: -1}, Held{bytes.NewReader(tt.held), tt.time}, got)
					if !errors.Is(err, tt.want) {
						t.Errorf("error %v, want %v", err, tt.want)
					}
					if tt.want == nil && !bytes.Equal(got.Bytes(), want) {
						t.Error("got other bytes")
					}
					if again := (*changes)[0].Dropped > 0; tt.want == nil && again != (scheme == "tftp" || tt.time.Before(modified)) {
						t.Errorf("%d bytes were sent again", (*changes)[0].Dropped)
					}
				})
			}
		})
	}
}

func TestFetchSmall(t *testing.T) {
	dir := tree(t)
	put(t, dir, "plan", []byte("{}"))
	p, _ := puller(t, httpPeer(t, dir).url)
	got, err := p.FetchSmall(guarded(t), File{Name: "plan", Size: -1}, 2)
	if err != nil || string(got) != "{}" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := p.FetchSmall(guarded(t), File{Name: "plan", Size: -1}, 1); err == nil || !strings.Contains(err.Error(), "larger than 1 bytes") {
		t.Errorf("error %v", err)
	}
	// What changed while it came is asked for once more, whole.
	a, b := content(100_000, 12), content(100_000, 13)
	put(t, dir, "plan", a)
	peer := httpPeer(t, dir)
	peer.link.spoil(cut, 50_000, 1)
	p, _ = puller(t, peer.url)
	p.Notify = func(Attempt) { put(t, dir, "plan", b) }
	if got, err = p.FetchSmall(guarded(t), File{Name: "plan", Size: -1}, 1<<20); err != nil || !bytes.Equal(got, b) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}
