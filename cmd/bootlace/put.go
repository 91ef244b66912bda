//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func runPut(ctx context.Context, args []string) error { return put(ctx, args, os.Stderr) }

func put(ctx context.Context, args []string, stderr io.Writer) error {
	set := newFlags("put", "FILE URL")
	client := tftpFlags(set, false)
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if len(operands) != 2 {
		return usageError{errors.New("put: want FILE URL")}
	}
	u, err := parseURL("put", operands[1])
	if err != nil {
		return err
	}
	if err := checkTFTP("put", client, u); err != nil {
		return err
	}
	f, err := os.Open(operands[0])
	if err != nil {
		return usageError{fmt.Errorf("put: %w", err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if !info.Mode().IsRegular() {
		return usageError{fmt.Errorf("put: %s is not a regular file", f.Name())}
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if strings.HasSuffix(u.Path, "/") {
		u.Path, u.RawPath = u.Path+filepath.Base(f.Name()), ""
	}
	show := newProgress(stderr)
	defer show.clear()
	p := newPuller("", show, *client)
	if err := p.Put(ctx, u.String(), f, info.Size()); err != nil {
		return fmt.Errorf("put %s to %s: %w", f.Name(), u.Redacted(), err)
	}
	show.line("%s: %s to %s", f.Name(), show.summary(), u.Redacted())
	return nil
}
