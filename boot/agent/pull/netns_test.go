package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// helperEnv makes the test binary a puller: a namespace takes whole processes,
// as the HTTP client dials from goroutines of its own. It holds the File as
// JSON; the arguments are the sources, the bytes go to standard output. After
// pauseAt bytes it waits until its standard input ends.
const (
	helperEnv = "BOOTLACE_PULL_HELPER"
	pauseAt   = 1 << 20
)

func TestMain(m *testing.M) {
	task := os.Getenv(helperEnv)
	if task == "" {
		os.Exit(m.Run())
	}
	var f File
	if err := json.Unmarshal([]byte(task), &f); err != nil {
		panic(err)
	}
	p := &Puller{Sources: os.Args[1:], TFTPMax: 16 << 20, Timing: hasty, TFTP: hastyTFTP, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	p.Progress = func(_ string, done, _ int64) {
		if done >= pauseAt {
			io.Copy(io.Discard, os.Stdin)
		}
	}
	if err := p.Fetch(context.Background(), f, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Three servers that others wrote, a wire between them and the device, and a
// cable that is pulled out in the middle and put back.
func TestCable(t *testing.T) {
	t.Parallel()
	server, device := nettest.Pair(t, "10.77.0.1/24", "10.77.0.2/24")
	for _, program := range []string{"dnsmasq", "vsftpd", "python3"} {
		nettest.Need(t, program)
	}
	dir := tree(t)
	want := content(12<<20, 50) // more than is on the way when the cable is cut
	put(t, dir, "image", want)
	start(t, server.Command(t, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--tftp-root="+dir, "--user=root", "--pid-file="+filepath.Join(t.TempDir(), "pid")))
	start(t, server.Command(t, nettest.Need(t, "vsftpd"), vsftpdConf(t, dir, "listen=YES", "listen_address=10.77.0.1")))
	start(t, server.Command(t, "python3", "-m", "http.server", "--bind", "10.77.0.1", "--directory", dir, "80"))
	for table, ports := range map[string][]string{"tcp": {":0050 ", ":0015 "}, "udp": {":0045 "}} {
		eventually(t, "a server does not listen", func() bool {
			open, err := server.Command(t, "cat", "/proc/net/"+table).Output()
			if err != nil {
				t.Fatal(err)
			}
			return !slices.ContainsFunc(ports, func(port string) bool { return !strings.Contains(string(open), port) })
		})
	}

	for _, tt := range []struct {
		sources []string
		carried []string // protocols that must have carried some of it
	}{
		{[]string{"tftp", "ftp", "http"}, []string{"tftp"}},
		{[]string{"ftp", "http"}, []string{"ftp"}},
		{[]string{"http"}, []string{"http"}},
	} {
		t.Run(strings.Join(tt.sources, "-"), func(t *testing.T) {
			pullOverCutCable(t, server, device, want, tt.sources, tt.carried)
		})
	}
}

// pullOverCutCable has the device pull from the server while the cable is out for
// a while. The protocols named by carried must have carried some of it.
func pullOverCutCable(t *testing.T, server, device *nettest.NS, want []byte, sources, carried []string) {
	var urls []string
	for _, s := range sources {
		urls = append(urls, s+"://10.77.0.1/")
	}
	cmd := device.Command(t, os.Args[0], urls...)
	task, err := json.Marshal(file("image", want))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), helperEnv+"="+string(task))
	out := &trigger{reached: make(chan bool), when: func(got []byte) bool { return len(got) >= pauseAt }}
	log := &trigger{reached: make(chan bool), when: func(got []byte) bool { return bytes.Contains(got, []byte(waits)) }}
	cmd.Stdout, cmd.Stderr = out, log
	pause, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	cable := func(state string) {
		if msg, err := exec.Command(nettest.Need(t, "ip"), "-n", server.Name, "link", "set", "eth0", state).CombinedOutput(); err != nil {
			t.Errorf("link %s: %v: %s", state, err, msg)
		}
	}
	out.wait(t, "the first MiB does not come")
	cable("down")
	pause.Close()
	log.wait(t, "nothing fails although the cable is cut")
	cable("up")
	if err := cmd.Wait(); err != nil || !bytes.Equal(out.got, want) {
		t.Errorf("%v, %d bytes:\n%s", err, len(out.got), log.got)
	}
	for _, proto := range carried {
		if !strings.Contains(string(log.got), "proto="+proto) {
			t.Errorf("log does not name %s:\n%s", proto, log.got)
		}
	}
}

// waits is in the log when all sources have failed.
const waits = "pull waits before it asks all sources again"

// A trigger says when what was written to it is as it should be.
type trigger struct {
	got     []byte
	when    func(got []byte) bool
	reached chan bool
	said    bool
}

func (b *trigger) Write(p []byte) (int, error) {
	b.got = append(b.got, p...)
	if !b.said && b.when(b.got) {
		b.said = true
		close(b.reached)
	}
	return len(p), nil
}

func (b *trigger) wait(t *testing.T, otherwise string) {
	t.Helper()
	select {
	case <-b.reached:
	case <-time.After(hangGuard):
		t.Fatal(otherwise)
	}
}
