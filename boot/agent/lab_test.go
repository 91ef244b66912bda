package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/images"
)

// A lab is a device's namespace and that of its servers.
type lab struct {
	t        *testing.T
	dev, srv *nettest.NS
	mac      boot.MAC
	addr     netip.Addr // of the servers
	root     string     // what TFTP and HTTP serve
	disk     string
	boot     string
	iface    string // of the servers
	served   *lines // dnsmasq's log

	mu     sync.Mutex
	status int // what a report is answered, 204 mostly
	posts  []post
	news   chan struct{}
}

type post struct {
	path, token string
	boot.Report
}

var subnets = func() func() int {
	var mu sync.Mutex
	n := rand.N(200)
	return func() int { mu.Lock(); defer mu.Unlock(); n++; return n % 250 }
}()

func newLab(t *testing.T) *lab {
	t.Parallel()
	n := subnets()
	l := &lab{t: t, root: t.TempDir(), boot: boot.RandomHex(16), iface: "eth0", status: http.StatusNoContent, news: make(chan struct{}, 1)}
	os.Chmod(l.root, 0o755)
	l.dev, l.srv = nettest.Pair(t, "", fmt.Sprintf("10.77.%d.1/24", n))
	l.addr = l.srv.Addr
	l.dev.Do(t, func() {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		l.mac = boot.MAC(i.HardwareAddr)
	})
	l.disk = filepath.Join(t.TempDir(), "disk")
	l.blank(8 << 20)
	l.serveHTTP()
	return l
}

// step runs f as a subtest, on which the lab's own functions fail meanwhile.
func (l *lab) step(name string, f func(t *testing.T)) {
	outer := l.t
	outer.Run(name, func(t *testing.T) {
		l.t = t
		defer func() { l.t = outer }()
		f(t)
	})
}

func (l *lab) blank(size int64) {
	l.t.Helper()
	os.Remove(l.disk)
	f, err := os.Create(l.disk)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// serveHTTP takes reports and serves the root.
func (l *lab) serveHTTP() {
	var ln net.Listener
	l.srv.Do(l.t, func() {
		var err error
		if ln, err = net.Listen("tcp", netip.AddrPortFrom(l.addr, 80).String()); err != nil {
			l.t.Fatal(err)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(l.root)))
	mux.HandleFunc("POST /api/machines/{mac}/events", func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		p := post{path: r.URL.Path, token: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&p.Report); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		if l.status/100 == 2 {
			l.posts = append(l.posts, p)
		}
		w.WriteHeader(l.status)
		select {
		case l.news <- struct{}{}:
		default:
		}
	})
	srv := &http.Server{Handler: mux}
	go srv.Serve(ln)
	l.t.Cleanup(func() { srv.Close() })
}

func (l *lab) answer(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = status
}

func (l *lab) all() []post {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.posts)
}

// events are those that were acknowledged, in order.
func (l *lab) events() (evs []boot.Event) {
	for _, p := range l.all() {
		evs = append(evs, p.Events...)
	}
	return evs
}

// event waits for one of that kind whose text holds all of the words.
func (l *lab) event(kind boot.Kind, words ...string) boot.Event {
	l.t.Helper()
	deadline := time.After(hangGuard)
	for {
		for _, ev := range l.events() {
			if ev.Kind == kind && holds(ev.Text, words) {
				return ev
			}
		}
		select {
		case <-l.news:
		case <-deadline:
			l.t.Fatalf("no event %s %q in %+v", kind, words, l.events())
		}
	}
}

func (l *lab) has(kind boot.Kind) bool {
	for _, ev := range l.events() {
		if ev.Kind == kind {
			return true
		}
	}
	return false
}

func holds(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// dnsmasq is a DHCP and TFTP server of another make.
func (l *lab) dnsmasq(args ...string) {
	l.t.Helper()
	base := strings.TrimSuffix(l.srv.Addr.String(), ".1")
	cmd := l.srv.Command(l.t, nettest.Need(l.t, "dnsmasq"), append([]string{
		"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=" + l.iface,
		"--pid-file=", "--dhcp-leasefile=" + filepath.Join(l.t.TempDir(), "leases"), "--no-ping",
		"--dhcp-range=" + base + ".50," + base + ".60,1h",
		"--enable-tftp", "--tftp-root=" + l.root,
	}, args...)...)
	l.served = l.start(cmd, "dnsmasq", "DHCP, IP range")
}

// polls waits until the plan was fetched from dnsmasq n more times.
func (l *lab) polls(n int) {
	l.t.Helper()
	deadline := time.After(hangGuard)
	fetched := func(log string) int {
		return strings.Count(log, "sent "+filepath.Join(l.root, boot.PlanName(l.mac, l.boot))+" to ")
	}
	for want := fetched(l.served.String()) + n; ; {
		log, more := l.served.wait()
		if fetched(log) >= want {
			return
		}
		select {
		case <-more:
		case <-deadline:
			l.t.Fatalf("the plan is not fetched again: %s", tail(log))
		}
	}
}

// byBootlace makes dnsmasq's offers say that they are an appliance's.
const byBootlace = "--dhcp-option-force=60,bootlace"

// start starts a command that ends with the test, and waits until it says
// ready. It returns what the command says.
func (l *lab) start(cmd *exec.Cmd, name, ready string) *lines {
	l.t.Helper()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); w.Close() })
	said := make(chan struct{})
	isReady := sync.OnceFunc(func() { close(said) })
	log := new(lines)
	go func() {
		in := bufio.NewScanner(r)
		for in.Scan() {
			log.add(in.Text())
			if strings.Contains(in.Text(), ready) {
				isReady()
			}
		}
	}()
	select {
	case <-said:
	case <-time.After(hangGuard):
		l.t.Fatalf("%s is not ready: %s", name, log.String())
	}
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("%s said:\n%s", name, tail(log.String()))
		}
	})
	return log
}

const testToken = "0123456789abcdef"

// plan is one that the agent takes as it is.
func (l *lab) plan(action boot.Action) *boot.Plan {
	base := "http://" + l.addr.String() + "/"
	return &boot.Plan{
		V: boot.PlanVersion, Machine: "00112233aabbccdd", MAC: l.mac, Boot: l.boot, Job: "job1", Action: action,
		Sources: []string{base}, Report: base, Token: testToken, Then: boot.Reboot, OnFailure: boot.Retry,
	}
}

// put writes a file into the served root in one step.
func (l *lab) put(name string, raw []byte) {
	l.t.Helper()
	name = filepath.Join(l.root, name)
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name+".new", raw, 0o644)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) putPlan(p *boot.Plan) {
	l.t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(boot.PlanName(l.mac, l.boot), raw)
}

// image makes an image of size bytes with a hole in it, and fills in the plan.
func (l *lab) image(p *boot.Plan, size int) (raw []byte) {
	l.t.Helper()
	raw = make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(raw[:size/3])
	r.Read(raw[2*size/3:])
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put("lab.raw.zst", enc.EncodeAll(raw, nil))
	name := filepath.Join(l.root, "lab.raw.zst")
	st, err := os.Stat(name)
	if err != nil {
		l.t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	m, err := images.Make(l.t.Context(), f)
	if err != nil {
		l.t.Fatal(err)
	}
	enc1 := m.Encode()
	l.put("lab.raw.zst"+images.ManifestSuffix, enc1)
	p.Image = &boot.Image{Name: "lab.raw.zst", Size: st.Size(), ManifestSize: int64(len(enc1)), ManifestSHA256: images.Digest(enc1)}
	return raw
}

// run changes something at one end of the cable.
func run(t *testing.T, n *nettest.NS, command string, args ...string) {
	t.Helper()
	if out, err := n.Command(t, nettest.Need(t, command), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", command, strings.Join(args, " "), err, out)
	}
}

// tail is enough to see how it ended.
func tail(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}
