package dataplane

import (
	"bytes"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// newLink is a bench whose vrf is a link, with everything behind tunnel one.
func newLink(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	v, err := b.plane.AddLink("link")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.plane.AddVRF("link"); err == nil {
		t.Error("a vrf has the name of a link")
	}
	b.vrf.link = v.link
	b.route("0.0.0.0/0", TunnelHop(b.one.index))
	b.route("::/0", TunnelHop(b.one.index))
	return b
}

func TestLinkTakesAllToItsPort(t *testing.T) {
	for name, pkt := range map[string][]byte{
		"route to the port":   ip4(b4, a4, 100),
		"route to the tunnel": ip4(b4, b4, 100),
		"unreachable":         ip4(b4, "10.99.1.1", 100),
		"multicast":           ip4(b4, "224.0.0.5", 100),
		"link-local":          ip6("fe80::2", "fe80::1", 100),
		"multicast 6":         ip6("fe80::2", "ff02::5", 100),
	} {
		t.Run(name, func(t *testing.T) {
			b := newLink(t)
			b.fromTunnel(b.one, pkt)
			if got := only(t, "port", b.port.written); !bytes.Equal(got, pkt) || len(b.one.sealed) != 0 {
				t.Errorf("the port got %x, want %x", got, pkt)
			}
		})
	}
}

func TestLinkTakesAllIntoItsTunnel(t *testing.T) {
	for name, pkt := range map[string][]byte{
		"unicast":     ip4(a4, b4, 100),
		"multicast":   ip4(a4, "224.0.0.5", 100),
		"link-local":  ip6("fe80::1", "fe80::2", 100),
		"multicast 6": ip6("fe80::1", "ff02::5", 100),
	} {
		t.Run(name, func(t *testing.T) {
			b := newLink(t)
			b.fromPort(pkt)
			if got := only(t, "tunnel", b.one.sealed); !bytes.Equal(got, pkt) {
				t.Errorf("the tunnel got %x, want %x", got, pkt)
			}
		})
	}
}

// A packet that was refused on its way out of a tunnel is counted, and does not reach the port.
func TestLinkKeepsWhatWasRefused(t *testing.T) {
	b := newLink(t)
	for _, dst := range []string{a4, b4} {
		slot := make([]byte, 300)
		copy(slot[64:], ip4(b4, dst, 100))
		p := b.in.clear.Append(slot, 64, 100)
		p.Ingress, p.Drop = b.one.index, packet.Malformed
	}
	b.in.deliver()
	if got := b.drops(b.in.worker); got[packet.Malformed] != 2 || len(b.port.written) != 0 {
		t.Errorf("drops %v, %d written", got, len(b.port.written))
	}
}
