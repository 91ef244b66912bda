//go:build device

package main

import (
	"context"

	"github.com/bootlace/bootlace/boot/agent"
)

// With the tag device the program is a device's firmware alone. It lacks the
// serving half, which is a fifth of the initramfs. `mkboot build` makes it so
// unless it is told --serve.

func runServe(context.Context, []string) error { return agent.ErrNoServing }

func runDevices(context.Context, []string) error { return agent.ErrNoServing }

func runWhy(context.Context, []string) error { return agent.ErrNoServing }

// serveVolume is nil: the agent then says so where a plan asks for it.
var serveVolume func(context.Context, *agent.Session) error
