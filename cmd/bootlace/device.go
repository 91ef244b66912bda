//go:build device

package main

import (
	"context"
	"errors"

	"github.com/bootlace/bootlace/boot/agent"
)

// With the tag device the program is a device's firmware alone. It lacks the
// serving half, which is a fifth of the initramfs, and uploads. `mkboot build`
// makes it so unless it is told --serve.

func runServe(context.Context, []string) error { return agent.ErrNoServing }

func runDevices(context.Context, []string) error { return agent.ErrNoServing }

func runWhy(context.Context, []string) error { return agent.ErrNoServing }

// errNoPut is what a firmware says that cannot send files.
var errNoPut = errors.New("this firmware was made without put; `mkboot build --serve` includes it")

func runPut(context.Context, []string) error { return errNoPut }

// serveVolume is nil: the agent then says so where a plan asks for it.
var serveVolume func(context.Context, *agent.Session) error
