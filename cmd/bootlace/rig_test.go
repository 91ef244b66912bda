package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/klauspost/compress/zstd"
)

// binary is the product, built as it goes into firmware but for its version.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that run beside others mostly wait for a slow cable.
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	dir, err := os.MkdirTemp("", "bl")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "bootlace")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build bootlace: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A rig is an appliance and a machine on one cable. Each is in a network
// namespace of its own. Both run as a person would run them.
type rig struct {
	t                testing.TB
	appliance, far   *nettest.NS // far is the machine's end
	root, state, cfg string
	dhcp             string // the config's, full by default
	serve            *process
}

const mac = "52:54:00:12:34:56"

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dhcp: "{mode: full, subnets: [{net: 10.9.0.0/24, pool: 10.9.0.100-10.9.0.110}]}"}
	r.appliance, r.far = nettest.Pair(t, "10.9.0.1/24", "")
	ip := nettest.Need(t, "ip")
	for _, args := range [][]string{{"down"}, {"address", mac}, {"up"}} {
		if out, err := exec.Command(ip, append([]string{"-n", r.far.Name, "link", "set", "eth0"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip: %v: %s", err, out)
		}
	}
	dir := t.TempDir()
	r.root, r.state, r.cfg = filepath.Join(dir, "root"), filepath.Join(dir, "state"), filepath.Join(dir, "bootlace.yaml")
	if err := os.Mkdir(r.root, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// config writes bootlace.yaml, and what is given at its end.
func (r *rig) config(text string) {
	r.t.Helper()
	head := fmt.Sprintf("root: %s\nstate: %s\ninterface: eth0\nlog: json\ndhcp: %s\nforce: true\n", r.root, r.state, r.dhcp)
	if err := os.WriteFile(r.cfg, []byte(head+text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// A flashing is a rig whose machine is in the middle of being flashed.
type flashing struct {
	*rig
	device *process
	target string // its disk
	raw    []byte // what is to be on it
}

// midFlash starts a flash and returns when the protocol has carried some of the
// image. The cable is so slow that the rest would take half a minute. The method
// fast ends that. more goes to the end of the profile. The test runs beside
// others, since it mostly waits.
func midFlash(t *testing.T, more, proto string) *flashing {
	t.Helper()
	t.Parallel()
	r := newRig(t)
	f := &flashing{rig: r, raw: r.image("lab.raw.zst", 48), target: r.disk(64)}
	r.config(flashProfile + more)
	r.start()
	r.slow(8)
	f.device = r.machine(f.target)
	f.device.wait(proto + ` +\[##`)
	return f
}

// start runs the appliance and waits until it serves.
func (r *rig) start() {
	r.t.Helper()
	r.serve = launch(r.t, "appliance", r.appliance.Command(r.t, binary, "serve", "--config", r.cfg))
	r.serve.wait(`"msg":"serving"`)
}

// machine runs the agent with a file as its disk.
func (r *rig) machine(disk string, more ...string) *process {
	r.t.Helper()
	args := append([]string{"agent", "--interface", "eth0", "--board", "qemu-x86_64", "--disk", disk}, more...)
	return launch(r.t, "machine", r.far.Command(r.t, binary, args...))
}

// image stores an image of n MiB with a boot sector, data and holes. It returns
// the raw bytes, which belong to all tests.
func (r *rig) image(name string, n int) []byte {
	r.t.Helper()
	made, _ := madeImages.LoadOrStore(n, sync.OnceValue(func() storedImage { return makeImage(n) }))
	im := made.(func() storedImage)()
	r.add(name, im)
	return im.raw
}

// addImage puts raw bytes in the root, compressed, and with their manifest.
func (r *rig) addImage(name string, raw []byte) {
	r.t.Helper()
	r.add(name, storedImage{raw, compress(raw)})
}

func (r *rig) add(name string, im storedImage) {
	r.t.Helper()
	path := filepath.Join(r.root, name)
	if err := os.WriteFile(path, im.stored, 0o644); err != nil {
		r.t.Fatal(err)
	}
	if out, err := exec.Command(binary, "image", "add", path).CombinedOutput(); err != nil {
		r.t.Fatalf("image add: %v: %s", err, out)
	}
}

// A storedImage is an image, raw and compressed.
type storedImage struct{ raw, stored []byte }

// madeImages are functions that return the image of so many MiB. Each is made
// once, since the race detector makes it slow.
var madeImages sync.Map

func makeImage(n int) storedImage {
	raw := make([]byte, n<<20)
	random := rand.NewChaCha8([32]byte{1})
	for i := range n {
		if i%4 != 3 {
			random.Read(raw[i<<20 : (i+1)<<20])
		}
	}
	raw[510], raw[511] = 0x55, 0xaa
	return storedImage{raw, compress(raw)}
}

func compress(raw []byte) []byte {
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // it is in memory
	}
	return z.Bytes()
}

// disk makes a blank disk of n MiB.
func (r *rig) disk(n int) string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "disk")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(int64(n) << 20)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return path
}

// holds checks that the disk begins with raw.
func (r *rig) holds(disk string, raw []byte) {
	r.t.Helper()
	got, err := os.ReadFile(disk)
	if err != nil {
		r.t.Fatal(err)
	}
	if sha256.Sum256(got[:len(raw)]) != sha256.Sum256(raw) {
		r.t.Error("the disk does not hold the image")
	}
}

// unbootable checks that a disk neither boots nor looks used.
func (r *rig) unbootable(disk string) {
	r.t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, head); err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(head, make([]byte, 1<<20)) {
		r.t.Error("the first MiB of a disk that was not finished is not zero")
	}
}

// nft runs a command on the appliance's packet filter.
func (r *rig) nft(commands string) {
	r.t.Helper()
	if out, err := r.appliance.Command(r.t, nettest.Need(r.t, "nft"), commands).CombinedOutput(); err != nil {
		r.t.Fatalf("nft %s: %v: %s", commands, err, out)
	}
}

const (
	filterTable = "add table inet t; add chain inet t o { type filter hook output priority 0; }; "
	blockTFTP   = filterTable + "add rule inet t o udp sport != 67 drop"
	blockAll    = filterTable + "add rule inet t o drop"
	unblock     = "delete table inet t"
)

// fast has the cable limit a transfer no more.
func (r *rig) fast() { r.slow(1000) }

// slow limits the cable to so many Mbit/s, so that a transfer has a middle.
func (r *rig) slow(mbit int) {
	r.t.Helper()
	out, err := r.appliance.Command(r.t, nettest.Need(r.t, "tc"), "qdisc", "replace", "dev", "eth0", "root", "tbf",
		"rate", fmt.Sprintf("%dmbit", mbit), "burst", "64k", "latency", "100ms").CombinedOutput()
	if err != nil {
		r.t.Fatalf("tc: %v: %s", err, out)
	}
}

// events asks the appliance what happened to the machine.
func (r *rig) events() (status string, events []boot.Event) {
	r.t.Helper()
	var m struct {
		Status string       `json:"status"`
		Events []boot.Event `json:"events"`
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.state, "control.sock"))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: hangGuard}
	res, err := client.Get("http://appliance/api/machines/" + mac)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		r.t.Fatal(err)
	}
	return m.Status, m.Events
}

// told waits until the appliance has a matching event of this kind.
func (r *rig) told(kind boot.Kind, pattern string) {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	defer func() {
		if r.t.Failed() {
			_, events := r.events()
			r.t.Logf("the appliance has these events: %+v", events)
		}
	}()
	eventually(r.t, fmt.Sprintf("the appliance has a %s event with %q", kind, pattern), func() bool {
		_, events := r.events()
		return slices.ContainsFunc(events, func(ev boot.Event) bool { return ev.Kind == kind && re.MatchString(ev.Text) })
	})
}

// notDone checks that nobody was told of success.
func (r *rig) notDone(m *process) {
	r.t.Helper()
	if strings.Contains(m.text(), "bootlace: done") {
		r.t.Error("the machine says done")
	}
	status, events := r.events()
	for _, ev := range events {
		if ev.Kind == boot.KindDone {
			r.t.Errorf("the appliance has %s: %s", ev.Kind, ev.Text)
		}
	}
	if status == "done" {
		r.t.Error("the appliance's status is done")
	}
}

// dialHere dials at once, on this thread and so in its namespace.
func dialHere(t testing.TB) func(context.Context, string, string) (net.Conn, error) {
	conn, err := net.Dial("tcp", "10.9.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context, string, string) (net.Conn, error) { return conn, nil }
}
