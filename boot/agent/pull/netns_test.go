package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
)

// helperEnv makes the test binary a puller: a namespace takes whole processes,
// as the HTTP client dials from goroutines of its own. It holds the File as
// JSON; the arguments are the sources, the bytes go to standard output.
const helperEnv = "BOOTLACE_PULL_HELPER"

// cableTiming is short, since here a stall too many is no failure.
var cableTiming = Timing{Stall: 500 * time.Millisecond, Backoff: 20 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, GiveUp: 30 * time.Second}

func TestMain(m *testing.M) {
	task := os.Getenv(helperEnv)
	if task == "" {
		os.Exit(m.Run())
	}
	var f File
	if err := json.Unmarshal([]byte(task), &f); err != nil {
		panic(err)
	}
	p := &Puller{Sources: os.Args[1:], TFTPMax: 16 << 20, Timing: cableTiming, TFTP: testTFTP, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	// 12 MiB a second: slow enough that the test can cut the cable in the middle.
	paced := int64(0)
	p.Progress = func(_ string, done, _ int64) {
		for ; done-paced >= 64<<10; paced += 64 << 10 {
			time.Sleep(5 * time.Millisecond)
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
	want := content(6<<20, 50)
	put(t, dir, "image", want)
	start(t, server.Command(t, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--tftp-root="+dir, "--user=root", "--pid-file="+filepath.Join(t.TempDir(), "pid")))
	start(t, server.Command(t, nettest.Need(t, "vsftpd"), vsftpdConf(t, dir, "listen=YES", "listen_address=10.77.0.1")))
	start(t, server.Command(t, "python3", "-m", "http.server", "--bind", "10.77.0.1", "--directory", dir, "80"))
	time.Sleep(time.Second) // python is the slowest of the three

	for _, tt := range []struct {
		sources []string
		carried []string // protocols that must have carried some of it
	}{
		{[]string{"tftp", "ftp", "http"}, []string{"tftp"}},
		{[]string{"ftp", "http"}, []string{"ftp"}},
		{[]string{"http"}, []string{"http"}},
	} {
		t.Run(strings.Join(tt.sources, "-"), func(t *testing.T) {
			var urls []string
			for _, s := range tt.sources {
				urls = append(urls, s+"://10.77.0.1/")
			}
			cmd := device.Command(t, os.Args[0], urls...)
			task, err := json.Marshal(file("image", want))
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(os.Environ(), helperEnv+"="+string(task))
			out := &trigger{at: 1 << 20, reached: make(chan bool)}
			log := new(bytes.Buffer)
			cmd.Stdout, cmd.Stderr = out, log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			cable := func(state string) {
				if msg, err := exec.Command(nettest.Need(t, "ip"), "-n", server.Name, "link", "set", "eth0", state).CombinedOutput(); err != nil {
					t.Errorf("link %s: %v: %s", state, err, msg)
				}
			}
			select {
			case <-out.reached:
			case <-time.After(10 * time.Second):
				t.Error("the first MiB did not come")
			}
			cable("down")
			time.Sleep(cableTiming.Stall * time.Duration(len(urls)+1))
			cable("up")
			if err := cmd.Wait(); err != nil || !bytes.Equal(out.got, want) {
				t.Errorf("%v, %d bytes:\n%s", err, len(out.got), log)
			}
			for _, proto := range tt.carried {
				if !strings.Contains(log.String(), "proto="+proto) {
					t.Errorf("log does not name %s:\n%s", proto, log)
				}
			}
			if !strings.Contains(log.String(), "pull waits before it asks all sources again") {
				t.Errorf("nothing failed:\n%s", log)
			}
		})
	}
}

// A trigger says when it has taken that many bytes.
type trigger struct {
	got     []byte
	at      int
	reached chan bool
}

func (b *trigger) Write(p []byte) (int, error) {
	before := len(b.got)
	b.got = append(b.got, p...)
	if before < b.at && len(b.got) >= b.at {
		close(b.reached)
	}
	return len(p), nil
}
