package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/tftp"
)

// tftpPort is where an appliance serves plans. A PXE client could not be told
// another either.
const tftpPort = 69

// errLost: the appliance has not answered for Timing.Lost.
var errLost = errors.New("the appliance does not answer any more")

// A planner fetches the plans of one boot from one appliance.
type planner struct {
	mac      boot.MAC // of the link
	boot     string
	server   netip.Addr // the appliance
	console  *console
	reporter *Reporter
	timing   Timing
}

// next fetches the plan until there is one that can be used. Each failure is
// said once, and one that lasts every Timing.Say. The error is errLost or the
// end of ctx.
func (pl *planner) next(ctx context.Context) (*boot.Plan, error) {
	name := boot.PlanName(pl.mac, pl.boot)
	wait := backoff{first: pl.timing.Plan, most: pl.timing.PlanMax}
	answered := time.Now()
	var said string
	var saidAt time.Time
	for {
		raw, err := pl.fetch(ctx, name)
		if err == nil {
			var p *boot.Plan
			if p, err = boot.ReadPlan(raw, pl.mac, pl.boot); err == nil {
				pl.reporter.use(p)
				return p, nil
			}
			// The same words to the console and to the appliance.
			if err.Error() != said {
				pl.refuse(ctx, raw, err)
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var answer *tftp.Error
		if raw != nil || errors.As(err, &answer) {
			answered = time.Now()
		}
		if text := err.Error(); text != said || time.Since(saidAt) >= pl.timing.Say {
			pl.console.say("no plan yet: %s", text)
			said, saidAt = text, time.Now()
		}
		if time.Since(answered) > pl.timing.Lost {
			return nil, fmt.Errorf("%w: %w", errLost, err)
		}
		sleep(ctx, wait.wait())
	}
}

func (pl *planner) fetch(ctx context.Context, name string) ([]byte, error) {
	// A silent appliance costs one try 15 s by TFTP's own timing.
	ctx, cancel := context.WithTimeout(ctx, pl.timing.Lost)
	defer cancel()
	buf := new(planBuffer)
	if _, err := new(tftp.Client).Get(ctx, netip.AddrPortFrom(pl.server, tftpPort), name, buf); err != nil {
		return nil, fmt.Errorf("fetch %s from %s: %w", name, pl.server, err)
	}
	return buf.Bytes(), nil
}

type planBuffer struct{ bytes.Buffer }

func (b *planBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > boot.MaxPlan {
		return 0, fmt.Errorf("plan is larger than %d bytes", boot.MaxPlan)
	}
	return b.Buffer.Write(p)
}

// refuse reports a plan that ReadPlan would not have.
func (pl *planner) refuse(ctx context.Context, raw []byte, why error) {
	p := new(boot.Plan)
	if json.Unmarshal(raw, p) != nil {
		p = new(boot.Plan) // what could be read of it proves nothing
	}
	pl.reporter.refuse(ctx, p, boot.Event{Kind: boot.KindFailed, Text: "plan refused: " + why.Error()})
}
