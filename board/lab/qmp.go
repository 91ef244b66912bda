package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// qmp is a connection to QEMU's monitor (QEMU docs, interop/qmp-spec).
type qmp struct {
	conn net.Conn
	in   *json.Decoder
}

// qmpTime is a hang guard. QEMU answers within milliseconds. Its socket appears
// within a second of the start.
const qmpTime = time.Minute

type qmpReply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// QMP runs a command of QEMU's monitor and returns the answer.
func (vm *VM) QMP(ctx context.Context, command string, args map[string]any) (json.RawMessage, error) {
	vm.qmpMu.Lock()
	defer vm.qmpMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, qmpTime)
	defer cancel()
	if vm.qmp == nil {
		q, err := dialQMP(ctx, filepath.Join(vm.dir, "qmp"))
		if err != nil {
			return nil, fmt.Errorf("qmp %s of %s: %w", command, vm.Name, err)
		}
		vm.qmp = q
	}
	raw, err := vm.qmp.run(ctx, command, args)
	if err != nil {
		return nil, fmt.Errorf("qmp %s of %s: %w", command, vm.Name, err)
	}
	return raw, nil
}

func dialQMP(ctx context.Context, path string) (*qmp, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			q := &qmp{conn: conn, in: json.NewDecoder(conn)}
			var greeting json.RawMessage
			if err = q.in.Decode(&greeting); err == nil {
				_, err = q.run(ctx, "qmp_capabilities", nil)
			}
			if err != nil {
				conn.Close()
				return nil, err
			}
			return q, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (q *qmp) run(ctx context.Context, command string, args map[string]any) (json.RawMessage, error) {
	if deadline, ok := ctx.Deadline(); ok {
		q.conn.SetDeadline(deadline)
	}
	msg := map[string]any{"execute": command}
	if args != nil {
		msg["arguments"] = args
	}
	if err := json.NewEncoder(q.conn).Encode(msg); err != nil {
		return nil, err
	}
	for {
		var r qmpReply
		if err := q.in.Decode(&r); err != nil {
			return nil, err
		}
		switch {
		case r.Event != "":
		case r.Error != nil:
			return nil, fmt.Errorf("QEMU says: %s", r.Error.Desc)
		default:
			return r.Return, nil
		}
	}
}

func (vm *VM) do(ctx context.Context, command string, args map[string]any) error {
	_, err := vm.QMP(ctx, command, args)
	return err
}

// Reset presses the reset button.
func (vm *VM) Reset(ctx context.Context) error { return vm.do(ctx, "system_reset", nil) }

// SetLink plugs or unplugs the cable of the NIC with this index. The guest sees
// that its carrier changes.
func (vm *VM) SetLink(ctx context.Context, nic int, up bool) error {
	return vm.do(ctx, "set_link", map[string]any{"name": fmt.Sprintf("nic%d", nic), "up": up})
}
