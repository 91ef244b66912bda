package pull

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/nettest"
	"github.com/bootlace/bootlace/boot/tftp/upload"
)

// hangGuard ends a test that waits for what never comes. Nothing that a busy
// machine does late may take as long.
const hangGuard = 2 * time.Minute

// testTiming takes no server for silent: on a busy machine all are for a while.
var testTiming = Timing{Stall: hangGuard, Backoff: 20 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, GiveUp: hangGuard}

// hasty is for tests that have a server fall silent. Another one may be taken
// for silent as well, and be asked again.
var hasty = Timing{Stall: 500 * time.Millisecond, Backoff: 20 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, GiveUp: hangGuard}

// A peer is a server of a protocol, with a wire before it that can be spoilt.
type peer struct {
	url  string // ends in /
	link *link  // nil where the protocol is encrypted
}

// peers start a server of dir for every scheme there is.
var peers = map[string]func(t *testing.T, dir string) peer{
	"tftp":  tftpPeer,
	"ftp":   ftpPeer,
	"ftps":  ftpsPeer,
	"http":  httpPeer,
	"https": httpsPeer,
}

func TestEveryProtocolHasAPeer(t *testing.T) {
	if schemes := Schemes(); !slices.IsSorted(schemes) || len(slices.Compact(schemes)) != len(protocols) {
		t.Errorf("schemes %q", schemes)
	}
	for _, p := range protocols {
		if peers[p.scheme] == nil {
			t.Errorf("no test fetches by %s", p.scheme)
		}
		if p.get == nil || p.list == nil || putters[p.scheme] == nil {
			t.Errorf("the row of %s is not whole", p.scheme)
		}
	}
}

// tree makes a folder that a server's own user can read.
func tree(t *testing.T) string {
	dir, err := os.MkdirTemp("", "pull")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func tftpPeer(t *testing.T, dir string) peer {
	l := newLink()
	return peer{"tftp://" + udpProxy(t, upload.ServeFolder(t, dir, 100*time.Millisecond), l) + "/", l}
}

func httpPeer(t *testing.T, dir string) peer {
	l := newLink()
	addr := serveHTTP(t, "127.0.0.1:0", http.FileServer(http.Dir(dir)), nil)
	return peer{"http://" + tcpProxy(t, addr, l) + "/", l}
}

func httpsPeer(t *testing.T, dir string) peer {
	cert, _, _ := certificate(t)
	return peer{url: "https://" + serveHTTP(t, "127.0.0.1:0", http.FileServer(http.Dir(dir)), &tls.Config{Certificates: []tls.Certificate{cert}}) + "/"}
}

func serveHTTP(t *testing.T, addr string, h http.Handler, conf *tls.Config) string {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String()
	if conf != nil {
		ln = tls.NewListener(ln, conf)
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return at
}

func ftpPeer(t *testing.T, dir string) peer {
	l := newLink()
	return peer{"ftp://" + ftpProxy(t, vsftpd(t, dir, "127.0.0.1"), l) + "/", l}
}

func ftpsPeer(t *testing.T, dir string) peer {
	_, certFile, keyFile := certificate(t)
	return peer{url: "ftps://" + vsftpd(t, dir, "127.0.0.1", "ssl_enable=YES", "implicit_ssl=YES", "allow_anon_ssl=YES",
		"force_anon_data_ssl=YES", "force_anon_logins_ssl=YES", "rsa_cert_file="+certFile, "rsa_private_key_file="+keyFile) + "/"}
}

// vsftpd serves dir to anonymous until the test ends, and returns its address.
func vsftpd(t *testing.T, dir, ip string, more ...string) string {
	nettest.NeedRoot(t)
	program := nettest.Need(t, "vsftpd")
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	listen := "listen=YES"
	if strings.Contains(ip, ":") {
		listen = "listen=NO\nlisten_ipv6=YES\nlisten_address6=" + ip
	}
	start(t, exec.Command(program, vsftpdConf(t, dir, append([]string{listen, fmt.Sprintf("listen_port=%d", portOf(t, addr))}, more...)...)))
	eventually(t, "vsftpd does not answer", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return addr
}

// eventually waits until something that tells nobody has happened.
func eventually(t *testing.T, otherwise string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(hangGuard); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}

func vsftpdConf(t *testing.T, dir string, more ...string) string {
	empty := tree(t)
	conf := filepath.Join(t.TempDir(), "vsftpd.conf")
	lines := append([]string{"background=NO", "anonymous_enable=YES", "local_enable=NO", "anon_root=" + dir, "no_anon_password=YES",
		"secure_chroot_dir=" + empty, "seccomp_sandbox=NO", "isolate_network=NO", "isolate=NO", "pasv_enable=YES", "xferlog_enable=NO", "allow_writeable_chroot=YES"}, more...)
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return conf
}

// start runs a command until the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() && out.Len() > 0 {
			t.Logf("%s: %s", cmd.Path, out)
		}
	})
}

// roots trusts every certificate that certificate makes.
var roots = x509.NewCertPool()

// certificate makes one for 127.0.0.1, also as files.
func certificate(t *testing.T) (cert tls.Certificate, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, raw := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(certPEM)
	return cert, certFile, keyFile
}

// puller for tests; changes collects what Notify said.
func puller(t *testing.T, sources ...string) (p *Puller, changes *[]Attempt) {
	changes = new([]Attempt)
	p = &Puller{Sources: sources, TFTPMax: 1 << 40, Timing: testTiming, TLS: &tls.Config{RootCAs: roots},
		Notify: func(c Attempt) { *changes = append(*changes, c) }}
	p.TFTP = testTFTP
	if testing.Verbose() {
		p.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return p, changes
}

// guarded is the context of what must not hang.
func guarded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), hangGuard)
	t.Cleanup(cancel)
	return ctx
}

func touch(t *testing.T, dir, name string, at time.Time) {
	if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
		t.Fatal(err)
	}
}
