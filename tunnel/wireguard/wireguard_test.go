package wireguard_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/wire"
)

func TestPacketsCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := pair(t, setup{})
		for i, p := range [][]byte{ip("10.1.0.5", "10.2.0.5", 64, 1), ip("fd01::5", "fd02::5", 1200, 2), ip("10.1.0.5", "10.2.0.5", 1301, 3)} {
			h[0].inject(t, p)
			if got := h[1].next(t); !bytes.Equal(got, p) {
				t.Fatalf("packet %d came out as %x", i, got)
			}
		}
		p := ip("10.2.0.5", "10.1.0.5", 333, 4)
		h[1].inject(t, p)
		if got := h[0].next(t); !bytes.Equal(got, p) {
			t.Fatalf("the answer came out as %x", got)
		}
	})
}

// TestSuperPacketsCross with a session and while there is none.
func TestSuperPacketsCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := pair(t, setup{})
		for range 2 {
			p := ip("10.1.0.5", "10.2.0.5", 28+5000, 7)
			o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
			must(t, h[0].port.InjectTo(0, pipe.Packet{Data: bytes.Clone(p), Offload: o}))
			var got []byte
			for range 5 {
				seg := h[1].next(t)
				if len(seg) != 1028 || wire.Checksum(seg[20:], wire.PseudoSum(seg, wire.ProtoUDP, 1008)) != 0 {
					t.Fatalf("segment of %d bytes", len(seg))
				}
				got = append(got, seg[28:]...)
			}
			if !bytes.Equal(got, p[28:]) {
				t.Error("segments do not make the super-packet")
			}
		}
	})
}
