package appliance

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot/config"
)

func TestCheckWhileItRuns(t *testing.T) {
	a := newAppliance(t)
	cfg := *a.cfg
	if err := Check(t.Context(), &cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("check: %v", err)
	}
	cfg.TFTP, cfg.HTTP = "", ""
	_, err := New(t.Context(), &cfg, slog.New(slog.DiscardHandler))
	if m := (Mistake{}); !errors.As(err, &m) || !strings.Contains(err.Error(), "another instance") {
		t.Errorf("a second instance over one state folder: %v", err)
	}
}

func TestFoundBeforeItServes(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"IPv6 for DHCP": {func(c *config.Config) {
			c.DHCP.Mode, c.Advertise = config.Proxy, netip.MustParseAddr("fe80::1")
		}, "advertise: fe80::1 is no IPv4 address"},
		"no room for the socket's name": {func(c *config.Config) {
			c.State = filepath.Join(c.State, strings.Repeat("d", 100))
		}, "may have 94 bytes at most"},
	} {
		cfg := config.Config{Root: t.TempDir(), State: t.TempDir(), Interface: []string{"lo"}, DHCP: config.DHCP{Mode: config.Off}}
		tt.change(&cfg)
		err := Check(t.Context(), &cfg, slog.New(slog.DiscardHandler))
		if m := (Mistake{}); !errors.As(err, &m) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
