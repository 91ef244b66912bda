package nettest

import (
	"io"
	"net"
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
