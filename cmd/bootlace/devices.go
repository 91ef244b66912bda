//go:build !device

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/appliance"
	"github.com/bootlace/bootlace/boot/appliance/config"
)

// apiTime bounds one question to an appliance: it answers from memory.
const apiTime = 10 * time.Second

// An api talks to a running appliance. It uses the unix socket in its state
// folder, or HTTP with the token that is kept there.
type api struct {
	base   string
	token  string
	client *http.Client
}

// apiFlags are --server and --state.
func apiFlags(set *flag.FlagSet) func() (*api, error) {
	server := set.String("server", os.Getenv("BOOTLACE_SERVER"), "`URL` of the appliance (BOOTLACE_SERVER); changes need BOOTLACE_TOKEN, see control.token in its state folder")
	state := set.String("state", config.DefaultState, "state `DIR` of an appliance on this machine")
	return func() (*api, error) {
		if *server != "" {
			u, err := url.Parse(*server)
			if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
				return nil, usageError{fmt.Errorf("--server: %q is not a URL like http://10.0.0.1", *server)}
			}
			return &api{base: strings.TrimSuffix(*server, "/"), token: os.Getenv("BOOTLACE_TOKEN"), client: &http.Client{Timeout: apiTime}}, nil
		}
		sock := filepath.Join(*state, appliance.ControlSock)
		if _, err := os.Stat(sock); err != nil {
			return nil, usageError{fmt.Errorf("no appliance runs with state folder %s; name it with --state DIR or --server URL", *state)}
		}
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", sock)
		}
		return &api{base: "http://appliance", client: &http.Client{Timeout: apiTime, Transport: &http.Transport{DialContext: dial}}}, nil
	}
}

// call asks and decodes the answer into out, where out is not nil.
func (a *api) call(ctx context.Context, method, path string, body, out any) error {
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, r)
	if err != nil {
		return err
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask appliance: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		return fmt.Errorf("appliance says: %s", strings.TrimSpace(string(why)))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

func runDevices(ctx context.Context, args []string) error {
	set := newFlags("devices", "[flash MAC [--overwrite] | local MAC]")
	connect := apiFlags(set)
	overwrite := set.Bool("overwrite", false, "with flash: over what the disk holds")
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	a, err := connect()
	if err != nil {
		return err
	}
	switch {
	case len(operands) == 0:
		return listDevices(ctx, a)
	case len(operands) == 2 && operands[0] == "flash":
		err = a.call(ctx, "POST", "/api/machines/"+url.PathEscape(operands[1])+"/flash", map[string]bool{"overwrite": *overwrite}, nil)
	case len(operands) == 2 && operands[0] == "local":
		err = a.call(ctx, "POST", "/api/machines/"+url.PathEscape(operands[1])+"/local", struct{}{}, nil)
	default:
		return usageError{fmt.Errorf("devices: %q: want nothing, flash MAC or local MAC", strings.Join(operands, " "))}
	}
	if err == nil {
		fmt.Printf("%s: asked; it takes effect at the machine's next boot\n", operands[1])
	}
	return err
}

func listDevices(ctx context.Context, a *api) error {
	var rows []boot.Row
	if err := a.call(ctx, "GET", "/api/machines", nil, &rows); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tMAC\tBOARD\tSTATUS\tFLASHED")
	for _, m := range rows {
		mac, flashed := "-", "-"
		if len(m.MACs) > 0 {
			mac = m.MACs[0].String()
		}
		if m.Flashed != nil {
			flashed = m.Flashed.Image + " " + m.Flashed.Time.Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, mac, m.Board, m.Status, flashed)
	}
	return w.Flush()
}

func runWhy(ctx context.Context, args []string) error {
	set := newFlags("why", "MAC")
	connect := apiFlags(set)
	operands, err := parse(set, args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usageError{errors.New("why: want one MAC or machine id")}
	}
	a, err := connect()
	if err != nil {
		return err
	}
	var m boot.Row
	if err := a.call(ctx, "GET", "/api/machines/"+url.PathEscape(operands[0]), nil, &m); err != nil {
		return err
	}
	for _, ev := range m.Events {
		fmt.Printf("%s  %-8s  %s\n", ev.Time.Format("15:04:05.000"), ev.Kind, ev.Text)
	}
	fmt.Printf("%s is: %s\n", operands[0], m.Status)
	return nil
}
