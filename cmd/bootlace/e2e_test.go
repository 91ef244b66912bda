package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootlace/bootlace/boot"
)

const flashProfile = `
profiles:
  - name: bench
    match: {mac: "52:54:00:12:34:*"}
    action: flash
    image: lab.raw.zst
`

// The main job without QEMU: serve, agent, a file as disk.
func TestFlash(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	raw := r.image("lab.raw.zst", 24)
	r.config(flashProfile + "    transfer: {tftp_max: 1MiB}\n")
	r.start()
	disk := r.disk(32)
	m := r.machine(disk)
	m.wait("bootlace: done")
	r.holds(disk, raw)
	r.told(boot.KindDone, "")
	r.told(boot.KindPull, "ftp")
	m.wait("would reboot")
	if first, _, _ := strings.Cut(m.text(), "\n"); !strings.HasPrefix(first, "bootlace agent ") || !strings.HasSuffix(first, " qemu-x86_64") {
		t.Errorf("first line is %q", first)
	}

	// Flashed once: the next power-on is told to boot from the disk.
	again := r.machine(disk)
	again.wait("plan: local")
	again.kill()

	// Asked for: it is flashed again. The disk holds the image, so it is
	// verified and nothing is written.
	if out, err := exec.Command(binary, "devices", "--state", r.state, "flash", mac).CombinedOutput(); err != nil {
		t.Fatalf("devices flash: %v: %s", err, out)
	}
	third := r.machine(disk)
	third.wait("bootlace: done: .*nothing")
	third.wait("would reboot")

	out, err := exec.Command(binary, "devices", "--state", r.state).CombinedOutput()
	if err != nil || !strings.Contains(string(out), mac) || !strings.Contains(string(out), "lab.raw.zst") {
		t.Errorf("devices: %v: %s", err, out)
	}
	out, err = exec.Command(binary, "why", "--state", r.state, mac).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "done") {
		t.Errorf("why: %v: %s", err, out)
	}
	if code := r.serve.stop(); code != 0 {
		t.Errorf("serve ended with %d after SIGTERM", code)
	}
}

// In proxy mode the appliance gives no address, and is found.
func TestFlashBesideAnotherDHCPServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	raw := r.image("lab.raw.zst", 8)
	r.dhcp = "{mode: proxy}"
	r.config(flashProfile)
	r.start()
	disk := r.disk(16)
	m := r.machine(disk, "--addr", "10.9.0.50/24")
	m.wait("appliance is 10.9.0.1")
	m.wait("bootlace: done")
	r.holds(disk, raw)
	r.told(boot.KindDHCP, "")
}

// Uploads: new files only, into their own folder, where --upload names one.
func TestUpload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := filepath.Join(filepath.Dir(r.root), "upload")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.dhcp = "{mode: off}"
	r.config("upload: " + dir + "\n")
	r.start()
	if out, err := exec.Command("ip", "-n", r.far.Name, "addr", "add", "10.9.0.77/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
	put := func(name string) (string, error) {
		out, err := r.far.Command(t, binary, "put", r.cfg, "tftp://10.9.0.1/"+name).CombinedOutput()
		return string(out), err
	}
	if out, err := put("core.1"); err != nil {
		t.Fatalf("put: %v: %s", err, out)
	}
	want, err := os.ReadFile(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "core.1")); err != nil || string(got) != string(want) {
		t.Errorf("uploaded: %q, %v", got, err)
	}
	for what, name := range map[string]string{"there already": "core.1", "in the root": "../root/x", "in a folder": "folder/x", "hidden": ".hidden"} {
		t.Run(what, func(t *testing.T) {
			if out, err := put(name); err == nil {
				t.Errorf("put %s is taken: %s", name, out)
			}
		})
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

// TFTP is blocked in mid-transfer. FTP goes on from the last good byte.
func TestTFTPBlocked(t *testing.T) {
	r := midFlash(t, "    transfer: {tftp_max: 1GiB}\n", "tftp")
	r.nft(blockTFTP)
	r.fast()
	r.device.wait("bootlace: done")
	r.holds(r.target, r.raw)
	r.told(boot.KindPull, "tftp")
	r.told(boot.KindPull, "ftp")
}

// Everything is blocked: the machine waits, retries, and finishes.
func TestEverythingBlocked(t *testing.T) {
	r := midFlash(t, "", "ftp")
	r.nft(blockAll)
	r.device.wait(`carried nothing of lab\.raw\.zst`)
	r.unbootable(r.target)
	r.notDone(r.device)
	r.nft(unblock)
	r.fast()
	r.device.wait("bootlace: done")
	r.holds(r.target, r.raw)
	r.told(boot.KindDone, "")
}

// The appliance dies in mid-transfer and comes back. The plan's token still
// holds, and the machine finishes.
func TestServerComesBack(t *testing.T) {
	r := midFlash(t, "", "ftp")
	r.serve.kill()
	r.device.wait(`carried nothing of lab\.raw\.zst`)
	r.fast()
	r.start()
	r.device.wait("bootlace: done")
	r.holds(r.target, r.raw)
	r.told(boot.KindDone, "")
}

// The machine is switched off in mid-flash. It finishes after its next power-on.
func TestPowerCut(t *testing.T) {
	r := midFlash(t, "", "ftp")
	r.device.kill()
	r.unbootable(r.target)
	r.notDone(r.device)
	r.fast()
	r.machine(r.target).wait("bootlace: done")
	r.holds(r.target, r.raw)
}

// Bad input: device and appliance say clearly what is wrong. Nothing is reported
// done.
func TestRefused(t *testing.T) {
	t.Parallel()
	edit := func(t *testing.T, path string, f func([]byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, f(b), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		disk  int // MiB
		spoil func(t *testing.T, r *rig, image, disk string)
		says  string
	}{
		{"flipped bit", 64, func(t *testing.T, r *rig, image, disk string) {
			edit(t, image, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, `bootlace: failed: .*(corrupt|sha256|checksum|invalid|block)`},
		{"disk too small", 16, func(*testing.T, *rig, string, string) {}, `bootlace: failed: .*(small|larger)`},
		{"no disk", 0, func(t *testing.T, r *rig, image, disk string) {}, `bootlace: failed: .*disk`},
		{"disk in use", 64, func(t *testing.T, r *rig, image, disk string) {
			edit(t, disk, func(b []byte) []byte { copy(b[510:], "\x55\xaa"); return b })
		}, `bootlace: failed: .*(partition|MBR|holds|used)`},
		{"image gone", 64, func(t *testing.T, r *rig, image, disk string) {
			if err := os.Remove(image); err != nil {
				t.Fatal(err)
			}
		}, `lab\.raw\.zst`},
		{"truncated image", 64, func(t *testing.T, r *rig, image, disk string) {
			edit(t, image, func(b []byte) []byte { return b[:len(b)-1000] })
		}, `lab\.raw\.zst`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.image("lab.raw.zst", 24)
			r.config(flashProfile)
			r.start()
			disk := r.disk(test.disk)
			test.spoil(t, r, filepath.Join(r.root, "lab.raw.zst"), disk)
			before, err := os.ReadFile(disk)
			if err != nil {
				t.Fatal(err)
			}
			m := r.machine(disk)
			m.wait(test.says)
			r.told(boot.KindFailed, "")
			r.notDone(m)
			if test.name == "disk in use" {
				after, err := os.ReadFile(disk)
				if err != nil || string(after) != string(before) {
					t.Error("a disk that was refused has changed")
				}
			}
		})
	}
}

// An event with a wrong token changes nothing. The appliance says so.
func TestWrongToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.image("lab.raw.zst", 4)
	r.config(flashProfile)
	r.start()
	body := `{"boot":"` + strings.Repeat("ab", 16) + `","job":"0011223344556677","events":[{"kind":"done","session":"1","digest":"x"}]}`
	var status int
	var answer []byte
	r.far.Do(t, func() {
		// The machine's end has no address before DHCP.
		if out, err := exec.Command("ip", "addr", "add", "10.9.0.77/24", "dev", "eth0").CombinedOutput(); err != nil {
			t.Fatalf("ip: %v: %s", err, out)
		}
	})
	cmd := r.far.Command(t, binary, "get", "http://10.9.0.1/healthz", "-o", "-")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("get: %v: %s", err, out)
	}
	r.far.Do(t, func() {
		client := http.Client{Timeout: hangGuard, Transport: &http.Transport{DialContext: dialHere(t)}}
		req, err := http.NewRequest("POST", "http://10.9.0.1/api/machines/"+mac+"/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer 00112233445566778899aabbccddeeff")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		status = res.StatusCode
		answer, _ = io.ReadAll(res.Body)
	})
	if status != http.StatusForbidden {
		t.Errorf("status %d: %s", status, answer)
	}
	r.serve.wait("wrong token")
}

// Mistakes in the config and busy ports: exit status 2, and what to do.
func TestMistakes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.image("lab.raw.zst", 4)
	type mistake struct {
		name, config, says string
		args               []string
	}
	check := func(m mistake) {
		t.Run(m.name, func(t *testing.T) {
			if m.config != "" {
				r.config(m.config)
			}
			code, out := launch(t, "serve", r.appliance.Command(t, binary, append([]string{"serve"}, m.args...)...)).exit()
			if code != 2 || !strings.Contains(out, m.says) {
				t.Errorf("exit %d, want 2 and %q:\n%s", code, m.says, out)
			}
		})
	}
	for _, m := range []mistake{
		{"unknown key", "profiles: [{name: a, actoin: wait}]\n", "actoin: unknown key", []string{"--config", r.cfg}},
		{"unknown flag", "", "dhpc", []string{"--config", r.cfg, "--dhpc", "full"}},
		{"no root", "", "root: ", []string{"--root", r.root + "/nothing", "--state", r.state}},
		{"no image", "flash: nothing.raw\n", "nothing.raw", []string{"--config", r.cfg, "--check"}},
	} {
		check(m)
	}

	r.config(flashProfile)
	if code, out := launch(t, "check", r.appliance.Command(t, binary, "serve", "--config", r.cfg, "--check")).exit(); code != 0 {
		t.Errorf("--check of a right config: exit %d\n%s", code, out)
	}
	r.start()
	alone := []string{"--root", r.root, "--state", r.state + "2", "--ftp", "off", "--http", "off"}
	for _, m := range []mistake{
		{"second instance", "", "UDP :69 is taken", []string{"--config", r.cfg}},
		{"busy port", "", "UDP :69 is taken", append(alone[:len(alone):len(alone)], "--dhcp", "off")},
		{"busy DHCP port", "", "67", append(alone[:len(alone):len(alone)], "--tftp", "off")},
	} {
		check(m)
	}
	t.Run("second instance on one state folder", func(t *testing.T) {
		code, out := launch(t, "serve", r.appliance.Command(t, binary, "serve", "--config", r.cfg, "--tftp", "off", "--ftp", "off", "--http", "off")).exit()
		if code == 0 || !strings.Contains(out, "another") {
			t.Errorf("exit %d:\n%s", code, out)
		}
	})
}

// A second DHCP server in full mode finds the first and refuses. It asks for some
// seconds only, so a busy machine may miss the answer. One of several tries has
// to find it.
func TestOtherDHCPServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config("")
	r.start()
	ip := exec.Command("ip", "-n", r.far.Name, "addr", "add", "10.9.0.2/24", "dev", "eth0")
	if out, err := ip.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
	for range 5 {
		second := launch(t, "second", r.far.Command(t, binary, "serve", "--root", r.root, "--state", r.state+"2", "--dhcp", "full", "--pool", "10.9.0.120-10.9.0.130"))
		eventually(t, "the second server refuses or serves", func() bool {
			return second.ended() || strings.Contains(second.text(), "msg=serving")
		})
		if !second.ended() {
			second.kill()
			continue
		}
		code, out := second.exit()
		if code != 2 || !strings.Contains(out, "10.9.0.1") || !strings.Contains(out, "--force") {
			t.Errorf("exit %d:\n%s", code, out)
		}
		return
	}
	t.Error("the second server serves beside the first")
}
