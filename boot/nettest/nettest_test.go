package nettest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
)

func TestPairCarriesTraffic(t *testing.T) {
	a, b := Pair(t, "10.1.0.1/24", "10.1.0.2/24")
	var l net.Listener
	a.Do(t, func() {
		var err error
		if l, err = net.Listen("tcp", "10.1.0.1:9"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	b.Do(t, func() {
		c, err := net.Dial("tcp", "10.1.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, _ := io.ReadAll(c); string(got) != "hello" {
			t.Errorf("got %q", got)
		}
	})
}

// What a process left that is no more goes; what one has that lives stays.
func TestSweep(t *testing.T) {
	NeedRoot(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := fmt.Sprintf("bl-%d-1a", dead.Process.Pid)
	ip(t, "netns", "add", left)
	t.Cleanup(func() { exec.Command(Need(t, "ip"), "netns", "del", left).Run() })
	mine := newNS(t, "a")
	sweep()
	if _, err := os.Stat("/run/netns/" + left); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
	if _, err := os.Stat("/run/netns/" + mine.Name); err != nil {
		t.Error(err)
	}
}
