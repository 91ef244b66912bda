package pull

import (
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/bootlace/bootlace/boot/tftp"
)

// testTFTP resends soon, and gives up as late as testTiming does.
var testTFTP = tftp.Client{Timing: tftp.Timing{Initial: 20 * time.Millisecond, Min: 20 * time.Millisecond, Max: 160 * time.Millisecond, First: 750, Retries: 750, Dally: 200 * time.Millisecond}}

// hastyTFTP gives up a transfer after 20+40+80+4×160 ms, for those who use hasty.
var hastyTFTP = tftp.Client{Timing: tftp.Timing{Initial: 20 * time.Millisecond, Min: 20 * time.Millisecond, Max: 160 * time.Millisecond, First: 3, Retries: 6, Dally: 200 * time.Millisecond}}

func TestResolve(t *testing.T) {
	for raw, want := range map[string]string{
		"tftp://10.0.0.1/x":           "10.0.0.1:69",
		"tftp://10.0.0.1:6969/x":      "10.0.0.1:6969",
		"tftp://[fd00::1]/x":          "[fd00::1]:69",
		"tftp://[fe80::1%25eth0]:7/x": "[fe80::1%eth0]:7",
		"tftp://localhost/x":          "127.0.0.1:69",
	} {
		t.Run(raw, func(t *testing.T) {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := resolve(t.Context(), u, 69); err != nil || got != netip.MustParseAddrPort(want) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	u, _ := url.Parse("tftp://10.0.0.1:66000/x")
	if got, err := resolve(t.Context(), u, 69); err == nil {
		t.Errorf("port 66000: %v", got)
	}
}

func TestTFTPName(t *testing.T) {
	for raw, want := range map[string]string{"tftp://h/a/b%20c": "a/b c", "tftp://h/x;mode=octet": "x", "tftp://h//etc/x": "/etc/x"} {
		t.Run(raw, func(t *testing.T) {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := tftpName(u); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
