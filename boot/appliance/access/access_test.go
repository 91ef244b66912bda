package access

import (
	"errors"
	"testing"
)

func TestBearer(t *testing.T) {
	for _, tt := range []struct {
		name, ours, shown string
		order             bool
	}{
		{"the token", "secret", "secret", true},
		{"another", "secret", "Secret", false},
		{"a part", "secret", "secre", false},
		{"none", "secret", "", false},
		{"none is set", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := (&Rules{Token: tt.ours}).Bearer(tt.shown)
			if p.Can(Order) != tt.order || !p.Can(Read) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	for name, known := range map[string]bool{"anonymous": true, "Anonymous": true, "ftp": true, "root": false, "": false} {
		t.Run(name, func(t *testing.T) {
			p, err := (&Rules{Uploads: true}).Login(name, "x@y")
			if known != (err == nil) || !known && !errors.Is(err, ErrUnknown) {
				t.Fatal(err)
			}
			if p.Can(Read) != known || p.Can(Upload) != known || p.Can(Order) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestUploadsAreOffUntilAskedFor(t *testing.T) {
	if p := new(Rules).Anonymous(); p.Can(Upload) || !p.Can(Read) || p.Name != "" {
		t.Errorf("%+v", p)
	}
	if Operator.Can(Upload) {
		t.Error("who orders may upload, though no folder was named")
	}
}
