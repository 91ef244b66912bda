//go:build device

package main

import (
	"context"
	"errors"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent"
)

// With the tag device the program is a device's firmware alone: without the
// serving half, which is a fifth of the initramfs. `mkboot build` makes it so
// unless it is told --serve.

var errDevice = errors.New("this firmware was made without the serving half; `mkboot build --serve` includes it")

func runServe(context.Context, []string) error { return errDevice }

func runDevices(context.Context, []string) error { return errDevice }

func runWhy(context.Context, []string) error { return errDevice }

func serveStore(context.Context, *agent.Session, *boot.Plan) error { return errDevice }
