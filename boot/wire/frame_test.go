package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

var (
	src, dst = MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
	from, to = netip.MustParseAddrPort("10.77.0.1:67"), netip.MustParseAddrPort("10.77.0.100:68")
)

func TestUDP4(t *testing.T) {
	for n := range 40 {
		payload := bytes.Repeat([]byte{0xa5, byte(n), 0xff}, n)
		t.Run(fmt.Sprintf("%d bytes", len(payload)), func(t *testing.T) {
			b := UDP4(src, dst, from, to, payload)
			if Sum(0, b[14:34]) != 0xffff {
				t.Error("IP checksum")
			}
			pseudo := append(slices.Clone(b[26:34]), 0, 17, b[38], b[39])
			if Sum(uint32(Sum(0, pseudo)), b[34:]) != 0xffff {
				t.Error("UDP checksum")
			}
			got, sender, err := ParseUDP4(b, 68)
			if err != nil || !bytes.Equal(got, payload) || sender != from {
				t.Errorf("back came %d from %s, %v", len(got), sender, err)
			}
			if _, _, err := ParseUDP4(b, 67); err == nil {
				t.Error("another port's is taken")
			}
		})
	}
}

func TestICMP6(t *testing.T) {
	frame := ICMP6(src, GroupMAC(AllRouters), LinkLocal(src), AllRouters, Solicit(src))
	sender, addr, message, ok := ParseICMP6(frame)
	if !ok || sender != src || addr != LinkLocal(src) || !bytes.Equal(message[4:], Solicit(src)[4:]) || MAC(frame[:6]) != (MAC{0x33, 0x33, 0, 0, 0, 2}) {
		t.Errorf("%x is read as %x from %v at %s, %t", frame, message, sender, addr, ok)
	}
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"of a neighbour's hop limit", func(b []byte) []byte { b[21] = 254; return b }},
		{"wrong checksum", func(b []byte) []byte { b[56]++; return b }},
		{"another protocol", func(b []byte) []byte { b[20] = 17; return b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, _, ok := ParseICMP6(tt.change(slices.Clone(frame))); ok {
				t.Error("it is believed")
			}
		})
	}
}

func FuzzParseUDP4(f *testing.F) {
	f.Add(UDP4(src, Broadcast, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), []byte("DISCOVER")), uint16(67))
	f.Add([]byte{}, uint16(67))
	f.Fuzz(func(t *testing.T, raw []byte, port uint16) {
		if payload, _, err := ParseUDP4(raw, port); err == nil && len(payload) > len(raw)-42 {
			t.Fatalf("%d bytes of payload in a frame of %d", len(payload), len(raw))
		}
	})
}

func FuzzParseICMP6(f *testing.F) {
	f.Add(ICMP6(src, GroupMAC(AllRouters), LinkLocal(src), AllRouters, Solicit(MAC{})))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		from, addr, message, ok := ParseICMP6(raw)
		if !ok {
			return
		}
		// What is believed is what ICMP6 would have made of it.
		again := ICMP6(from, MAC(raw[:6]), addr, netip.AddrFrom16([16]byte(raw[38:54])), slices.Clone(message))
		check, want := binary.BigEndian.Uint16(raw[56:]), binary.BigEndian.Uint16(again[56:])
		if message[0] != again[54] || check%0xffff != want%0xffff { // 0 and 0xffff are the same sum
			t.Fatalf("%x is not %x", raw, again)
		}
	})
}
