package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance/catalog"
	"github.com/bootlace/bootlace/boot/appliance/config"
	"github.com/bootlace/bootlace/boot/appliance/dhcp"
	"github.com/bootlace/bootlace/boot/appliance/policy"
)

// checkProfiles makes missing manifests and refuses profiles that can never
// work. The user can mend every error it returns.
func checkProfiles(ctx context.Context, cfg *config.Config, c *catalog.Catalog, u *urls, log *slog.Logger) error {
	warnWithoutFirmware(cfg, c, log)
	prepared := map[string]bool{}
	for _, p := range cfg.Profiles {
		if err := reachable(p, u); err != nil {
			return fmt.Errorf("profile %s: %w", p.Name, err)
		}
		if err := checkServingHalf(ctx, p, c, log); err != nil {
			return fmt.Errorf("profile %s: %w", p.Name, err)
		}
		for _, name := range p.Images {
			im := cfg.Image(name)
			if prepared[im.File] {
				continue
			}
			prepared[im.File] = true
			if err := c.Prepare(ctx, im.File, im.SHA256); err != nil {
				return fmt.Errorf("profile %s: image %s: %w", p.Name, name, err)
			}
		}
		for _, name := range []string{p.Kernel, p.Initrd} {
			if name == "" {
				continue
			}
			if _, err := c.File(ctx, name); err != nil {
				return fmt.Errorf("profile %s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// warnWithoutFirmware logs a root without any firmware. Machines would get a
// script and then nothing to boot.
func warnWithoutFirmware(cfg *config.Config, c *catalog.Catalog, log *slog.Logger) {
	var missing []string
	for _, b := range board.Boards {
		if !policy.HasFirmware(c, b) {
			missing = append(missing, b.Name)
		}
	}
	if len(missing) == len(board.Boards) && cfg.DHCP.Mode != dhcp.Off {
		log.Warn("no firmware in the root: `mkboot build BOARD -o ROOT` makes it", "boards", missing)
	}
}

// reachable refuses a profile that needs a server which is off. Its machines
// would try for ever.
func reachable(p *boot.Profile, u *urls) error {
	self := netip.IPv6Loopback() // any address will do
	row := p.Action.Row()
	switch {
	case !row.NeedsPlan:
	case u.listen["tftp"] == "":
		return errors.New("tftp is off, and machines fetch their plan there")
	case u.listen["http"] == "" && row.NeedsAck:
		return errors.New("http is off, and machines report there that they are done")
	case row.NeedsSources() && len(u.sources(self, p.Transfer.Order)) == 0:
		return fmt.Errorf("transfer.order: %s: each of it is off", strings.Join(p.Transfer.Order, ", "))
	}
	return nil
}

// checkServingHalf refuses action serve where all firmware lacks the serving half. The
// BUILD file beside the firmware says so. Firmware without that file is the
// user's own and counts as able. If only some firmware lacks it, the log has a
// warning: the profile may be for the other boards.
func checkServingHalf(ctx context.Context, p *boot.Profile, c *catalog.Catalog, log *slog.Logger) error {
	if p.Action != boot.ActionServe {
		return nil
	}
	match := boot.Match{Board: p.Match.Board, Arch: p.Match.Arch}
	able, unable := 0, []string(nil)
	for _, b := range board.Boards {
		if !policy.HasFirmware(c, b) || !match.Matches(boot.Facts{Board: b.Name, Arch: b.Arch}) {
			continue
		}
		if c.LacksServe(ctx, b) {
			unable = append(unable, b.Name)
		} else {
			able++
		}
	}
	if len(unable) == 0 {
		return nil
	}
	if able == 0 {
		return fmt.Errorf("action serve: the firmware of %s was made without the serving half; `mkboot build --serve` includes it",
			strings.Join(unable, ", "))
	}
	log.Warn("action serve, but firmware was made without the serving half; `mkboot build --serve` includes it",
		"profile", p.Name, "boards", unable)
	return nil
}
