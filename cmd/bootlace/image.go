package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootlace/bootlace/boot/human"
	"github.com/bootlace/bootlace/images"
)

func runImage(ctx context.Context, args []string) error {
	set := newFlags("image", "add|ls|verify FILE")
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if len(operands) < 1 {
		return usageError{errors.New("image: want add FILE, verify FILE or ls [DIR]")}
	}
	verb, files := operands[0], operands[1:]
	switch {
	case verb == "ls" && len(files) <= 1:
		dir := "."
		if len(files) == 1 {
			dir = files[0]
		}
		return listImages(dir)
	case verb == "add" && len(files) > 0:
		for _, file := range files {
			path, m, err := images.Add(ctx, file)
			if err != nil {
				return err
			}
			fmt.Printf("%s: %s stored, %s raw, %d blocks\n", path, human.Bytes(m.Stored.Size), human.Bytes(m.Raw.Size), len(m.Blocks))
		}
		return nil
	case verb == "verify" && len(files) > 0:
		for _, file := range files {
			if _, err := images.Verify(ctx, file); err != nil {
				return err
			}
			fmt.Printf("%s: agrees with its manifest\n", file)
		}
		return nil
	}
	return usageError{fmt.Errorf("image: %q: want add FILE, verify FILE or ls [DIR]", strings.Join(operands, " "))}
}

// listImages prints the images of a folder that have a manifest.
func listImages(dir string) error {
	manifests, err := filepath.Glob(filepath.Join(dir, "*"+images.ManifestSuffix))
	if err != nil {
		return err
	}
	for _, path := range manifests {
		name := strings.TrimSuffix(filepath.Base(path), images.ManifestSuffix)
		m, err := images.ReadManifest(path)
		if err != nil {
			fmt.Printf("%-30s %v\n", name, err)
			continue
		}
		note := ""
		if info, err := os.Stat(strings.TrimSuffix(path, images.ManifestSuffix)); err != nil {
			note = "  image is missing"
		} else if info.Size() != m.Stored.Size {
			note = "  image has changed since"
		}
		fmt.Printf("%-30s %10s stored %10s raw  %s%s\n", name, human.Bytes(m.Stored.Size), human.Bytes(m.Raw.Size), m.Stored.SHA256[:16], note)
	}
	return nil
}
