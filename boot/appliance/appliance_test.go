package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/ftp"
	"github.com/bootlace/bootlace/boot/appliance/web"
	"github.com/bootlace/bootlace/boot/tftp"
)

func TestCheckWhileItRuns(t *testing.T) {
	a := newAppliance(t)
	cfg := *a.cfg
	if err := Check(t.Context(), &cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("check: %v", err)
	}
	cfg.Listen = nil
	_, err := New(t.Context(), &cfg, slog.New(slog.DiscardHandler))
	if m := (Mistake{}); !errors.As(err, &m) || !strings.Contains(err.Error(), "another instance") {
		t.Errorf("a second instance over one state folder: %v", err)
	}
}

func TestFoundBeforeItServes(t *testing.T) {
	flash := &boot.Profile{Name: "p", Action: boot.ActionFlash, Transfer: boot.Transfer{Order: []string{"ftp"}}}
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"IPv6 for DHCP": {func(c *config.Config) {
			c.DHCP.Mode, c.Advertise = dhcp.Proxy, netip.MustParseAddr("fe80::1")
		}, "advertise: fe80::1 is no IPv4 address"},
		"a plan that nobody can fetch": {func(c *config.Config) {
			c.Profiles, c.Listen["http"] = []*boot.Profile{flash}, ":80"
		}, "profile p: tftp is off"},
		"an end that nobody hears of": {func(c *config.Config) {
			c.Profiles, c.Listen["tftp"] = []*boot.Profile{flash}, ":69"
		}, "profile p: http is off"},
		"an image that nobody can fetch": {func(c *config.Config) {
			c.Profiles, c.Listen = []*boot.Profile{flash}, map[string]string{"tftp": ":69", "http": ":80"}
		}, "profile p: transfer.order: ftp: each of it is off"},
		"no room for the socket's name": {func(c *config.Config) {
			c.State = filepath.Join(c.State, strings.Repeat("d", 100))
		}, "may have 94 bytes at most"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Config{Root: t.TempDir(), State: t.TempDir(), Interface: []string{"lo"}, DHCP: dhcp.Config{Mode: dhcp.Off}, Listen: map[string]string{}}
			tt.change(&cfg)
			err := Check(t.Context(), &cfg, slog.New(slog.DiscardHandler))
			if m := (Mistake{}); !errors.As(err, &m) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
		})
	}
}

// Firmware without the serving half cannot serve. Its BUILD file says so.
func TestServes(t *testing.T) {
	for name, tt := range map[string]struct {
		builds map[string]string // by board
		match  boot.Match
		err    string
		warns  bool
	}{
		"without":           {map[string]string{"qemu-arm64": "board qemu-arm64\nserve false\n"}, boot.Match{}, "profile p: action serve: the firmware of qemu-arm64 was made without", false},
		"with":              {map[string]string{"qemu-arm64": "board qemu-arm64\nserve true\n"}, boot.Match{}, "", false},
		"the user's own":    {map[string]string{"qemu-arm64": ""}, boot.Match{}, "", false},
		"one of two":        {map[string]string{"qemu-arm64": "serve false\n", "qemu-x86_64": "serve true\n"}, boot.Match{}, "", true},
		"not for it":        {map[string]string{"qemu-arm64": "serve false\n", "qemu-x86_64": "serve true\n"}, boot.Match{Arch: []string{"amd64"}}, "", false},
		"for the other one": {map[string]string{"qemu-arm64": "serve false\n", "qemu-x86_64": "serve true\n"}, boot.Match{Board: []string{"qemu-arm64"}}, "qemu-arm64 was made without", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Config{
				Root: t.TempDir(), State: t.TempDir(), Interface: []string{"lo"}, DHCP: dhcp.Config{Mode: dhcp.Off}, Listen: map[string]string{"tftp": ":69"},
				Profiles: []*boot.Profile{{Name: "p", Action: boot.ActionServe, Match: tt.match}},
			}
			for name, build := range tt.builds {
				b, _ := board.ByName(name)
				dir := filepath.Join(cfg.Root, filepath.FromSlash(b.File("")))
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				files := map[string]string{board.UKI: "MZ", board.Build: build}
				if build == "" {
					delete(files, board.Build)
				}
				for file, text := range files {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			var log bytes.Buffer
			err := Check(t.Context(), &cfg, slog.New(slog.NewTextHandler(&log, nil)))
			if m := (Mistake{}); tt.err == "" && err != nil || tt.err != "" && (!errors.As(err, &m) || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%s: %v, want %q", name, err, tt.err)
			}
			if strings.Contains(log.String(), "serving half") != tt.warns {
				t.Errorf("%s: log %q", name, log.String())
			}
		})
	}
}

// At full load there are still files left for the appliance itself.
func TestShare(t *testing.T) {
	for _, n := range []budget{256, 1024, 4096, wantFiles, 1 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if sum := n.share(tftpFiles) + 4*n.conns(ftp.DefaultLimits).Total + 2*n.conns(web.DefaultLimits).Total; sum > int(n)*15/16 {
				t.Errorf("of %d files strangers take %d", n, sum)
			}
		})
	}
	if b := budget(1 << 20); b.conns(web.DefaultLimits) != web.DefaultLimits || b.share(tftpFiles) != 2048 {
		t.Errorf("with files enough: %+v, %d", b.conns(web.DefaultLimits), b.share(tftpFiles))
	}
}

// A board whose network card overruns gets smaller windows.
func TestWindowOfBoard(t *testing.T) {
	a := newAppliance(t)
	write(t, filepath.Join(a.cfg.Root, "f"), []byte("f"))
	server := a.tftpServer()
	for i, b := range board.Boards {
		t.Run(b.Name, func(t *testing.T) {
			mac, addr := boot.MAC{2, 0, 0, 0, 0, byte(i)}, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			window := func() int {
				t.Helper()
				src, err := server.Open(t.Context(), &tftp.Request{Name: "f", Remote: netip.AddrPortFrom(addr, 2070)})
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				return src.Windowsize
			}
			if n := window(); n != 0 {
				t.Errorf("an unknown machine: %d", n)
			}
			a.machines.recordAddr(mac, addr)
			a.machines.facts.Put(mac, boot.Facts{Board: b.Name})
			if n := window(); n != b.Windowsize {
				t.Errorf("%d, want %d", n, b.Windowsize)
			}
		})
	}
}

// Each protocol of the table has a constructor.
func TestProtocols(t *testing.T) {
	for _, p := range boot.Protocols {
		if fileServers[p.Name] == nil {
			t.Errorf("%s has no constructor", p.Name)
		}
	}
	if len(fileServers) != len(boot.Protocols) {
		t.Errorf("%d constructors, %d protocols", len(fileServers), len(boot.Protocols))
	}
}

// A DHCP answer reads no disk. A thousand packets of every loader do not touch
// the root.
func TestAnswersReadNoDisk(t *testing.T) {
	var firmware []string
	for _, b := range board.Boards {
		firmware = append(firmware, b.Name)
	}
	a := newWithFiles(t, append(firmwareFiles(firmware...), "lab.raw")...)
	a.machines.policy.Profiles = []*boot.Profile{{Name: "flash", Action: boot.ActionFlash, Images: map[string]string{"": "lab.raw"}}}
	infos := &bootInfos{machines: a.machines, urls: a.urls}
	before := a.tree.Looks()
	files := 0
	for i := range 1000 {
		traits := board.Traits{
			Client: board.Arches[i%len(board.Arches)].Clients()[0], VendorClass: "PXEClient:Arch:00000", MAC: []byte{2, 0, 0, 0, byte(i >> 8), byte(i)},
		}
		if i%5 == 0 {
			traits.UserClass = "iPXE"
		}
		r := boot.NewRequest(traits, boot.MAC(traits.MAC))
		r.Interface, r.Server = "lo", machineAddr
		info, err := infos.decide(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if info.Bootfile != "" {
			files++
		}
	}
	if n := a.tree.Looks() - before; n != 0 {
		t.Errorf("%d looks at the root for 1000 answers", n)
	}
	if files < 500 {
		t.Errorf("only %d of 1000 were given a boot file", files)
	}
	// A plan does read the root. It promises what is there now.
	planFor(t, a, boot.MAC{2, 0, 0, 0, 0, 1})
	if a.tree.Looks() == before {
		t.Error("the looks of a plan are not counted, so this test shows nothing")
	}
}
