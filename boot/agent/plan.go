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

// tftpPort is where an appliance serves plans; a PXE client could not be told
// another either.
const tftpPort = 69

// errLost: the appliance has not answered for Timing.Lost.
var errLost = errors.New("the appliance does not answer any more")

// plan fetches the plan for this boot until there is one that can be used.
// Each failure is said once, and one that lasts every Timing.Say. The error is
// errLost or the end of ctx.
func (s *Session) plan(ctx context.Context, l *lease) (*boot.Plan, error) {
	name := boot.PlanName(l.link.MAC, s.Boot)
	wait := backoff{first: s.timing.Plan, most: s.timing.PlanMax}
	answered := time.Now()
	var said string
	var saidAt time.Time
	for {
		raw, err := s.fetchPlan(ctx, l.appliance, name)
		if err == nil {
			var p *boot.Plan
			if p, err = boot.ReadPlan(raw, l.link.MAC, s.Boot); err == nil {
				s.Reporter.use(p)
				return p, nil
			}
			// The same words to the console and to the appliance.
			if err.Error() != said {
				s.refuse(ctx, raw, err)
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var answer *tftp.Error
		if raw != nil || errors.As(err, &answer) {
			answered = time.Now()
		}
		if text := err.Error(); text != said || time.Since(saidAt) >= s.timing.Say {
			s.say("no plan yet: %s", text)
			said, saidAt = text, time.Now()
		}
		if time.Since(answered) > s.timing.Lost {
			return nil, fmt.Errorf("%w: %w", errLost, err)
		}
		sleep(ctx, wait.wait())
	}
}

func (s *Session) fetchPlan(ctx context.Context, server netip.Addr, name string) ([]byte, error) {
	// A silent appliance costs one try 15 s by TFTP's own timing.
	ctx, cancel := context.WithTimeout(ctx, s.timing.Lost)
	defer cancel()
	buf := new(planBuffer)
	if _, err := new(tftp.Client).Get(ctx, netip.AddrPortFrom(server, tftpPort), name, buf); err != nil {
		return nil, fmt.Errorf("fetch %s from %s: %w", name, server, err)
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
func (s *Session) refuse(ctx context.Context, raw []byte, why error) {
	p := new(boot.Plan)
	if json.Unmarshal(raw, p) != nil {
		p = new(boot.Plan) // what could be read of it proves nothing
	}
	s.Reporter.refuse(ctx, p, boot.Event{Kind: boot.KindFailed, Text: "plan refused: " + why.Error()})
}
