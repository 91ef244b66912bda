package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// An End of a link goes to one NIC. It holds the paths of two datagram sockets,
// its own and the peer's.
type End struct{ local, remote string }

// Link joins two NICs by a cable of their own. dir must exist and outlive both
// machines. Its path must be short, since that of a unix socket has at most 107
// bytes. Either machine may start first, and start again.
func Link(dir string) (a, b End) {
	pa, pb := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	return End{pa, pb}, End{pb, pa}
}

// A Switch joins any number of NICs. Each frame goes to every other port. A test
// can see and stop what passes.
type Switch struct {
	// Pass decides whether a frame passes. from is the port it came in by,
	// counted from 0. Each port calls it from a goroutine of its own. nil lets
	// everything pass.
	Pass func(from int, frame []byte) bool

	ports []*port
}

// NewSwitch makes a switch with ports for n NICs. dir is as in Link.
func NewSwitch(dir string, n int) (*Switch, []End, error) {
	s := &Switch{}
	var ends []End
	for i := range n {
		own, nic := filepath.Join(dir, fmt.Sprintf("s%d", i)), filepath.Join(dir, fmt.Sprintf("n%d", i))
		in, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: own, Net: "unixgram"})
		if err != nil {
			s.closePorts()
			return nil, nil, fmt.Errorf("make switch: %w", err)
		}
		s.ports = append(s.ports, &port{in: in, nic: nic})
		ends = append(ends, End{nic, own})
	}
	return s, ends, nil
}

func (s *Switch) closePorts() {
	for _, p := range s.ports {
		p.in.Close()
		os.Remove(p.in.LocalAddr().String())
	}
}

// Run carries frames until ctx ends. Then it returns nil.
func (s *Switch) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.closePorts)()
	var wg sync.WaitGroup
	for i := range s.ports {
		wg.Go(func() { s.carry(i) })
	}
	wg.Wait()
	for _, p := range s.ports {
		p.hangUp()
	}
	return nil
}

// carry carries the frames of one port, until its socket is closed.
func (s *Switch) carry(from int) {
	frame := make([]byte, 1<<16)
	for {
		n, err := s.ports[from].in.Read(frame)
		if err != nil {
			return
		}
		if s.Pass == nil || s.Pass(from, frame[:n]) {
			s.Send(from, frame[:n])
		}
	}
}

// Send puts a frame on the switch as if it had come in by the port from. -1 means
// none of them. A machine that is off does not get it.
func (s *Switch) Send(from int, frame []byte) {
	for i, p := range s.ports {
		if i != from {
			p.send(frame)
		}
	}
}

// A port talks to the socket of one QEMU.
type port struct {
	in  *net.UnixConn
	nic string

	mu  sync.Mutex
	out *net.UnixConn // connected, or a queue with room would not wake the writer
}

// portPatience is how long a full queue may stay full. Queues of unix datagrams
// have 10 places by default, so they are often full for moments. One that stays
// full belongs to a machine that has stopped.
const portPatience = 100 * time.Millisecond

// send sends a frame. It is lost if nobody takes it.
func (p *port) send(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 2 { // the first socket may be that of an earlier start
		if p.out == nil {
			out, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: p.nic, Net: "unixgram"})
			if err != nil {
				return
			}
			p.out = out
		}
		p.out.SetWriteDeadline(time.Now().Add(portPatience))
		_, err := p.out.Write(frame)
		if err == nil || os.IsTimeout(err) {
			return
		}
		p.out.Close()
		p.out = nil
	}
}

func (p *port) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil {
		p.out.Close()
		p.out = nil
	}
}
