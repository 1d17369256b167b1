package dataplane

import (
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// TestSeveralPortsOfAVRF: routes choose among the ports for what comes from tunnels and from one another; only the port that a packet
// came from does not get it back. A port is no hop.
func TestSeveralPortsOfAVRF(t *testing.T) {
	b := newBench(t)
	stack := newFakePort()
	number, err := b.plane.AddPort(b.vrf, stack, []netip.Addr{netip.MustParseAddr("10.9.0.1")})
	if err != nil || number != 1 {
		t.Fatal(number, err)
	}
	b.route("10.9.0.0/24", PortHop(number))
	b.route("10.8.0.0/24", PortHop(7))
	b.fromTunnel(b.one, ip4(b4, a4, 100), ip4(b4, "10.9.0.1", 101, hopLimit(1)), ip4(b4, a4, 102))
	if len(b.port.written) != 2 || len(b.port.written[1]) != 102 {
		t.Errorf("the first port got %d packets", len(b.port.written))
	}
	if got := only(t, "second port", stack.written); len(got) != 101 || got[8] != 1 {
		t.Errorf("%d bytes, TTL %d", len(got), got[8])
	}
	b.fromPort(ip4(a4, "10.9.0.1", 103, hopLimit(1)), ip4(a4, "10.1.0.9", 104), ip4(a4, "10.8.0.1", 105))
	if len(stack.written) != 2 || len(stack.written[1]) != 103 || stack.written[1][8] != 1 {
		t.Errorf("the second port got %d packets", len(stack.written))
	}
	got := b.drops(b.out.worker)
	if got[packet.Hairpin] != 1 || got[packet.PortDown] != 1 || len(got) != 2 {
		t.Errorf("drops %v", got)
	}
	if len(b.port.written) != 3 || readICMP(t, b.port.written[2]).code != 1 {
		t.Errorf("%d packets written to the first port; want an answer to the one that would have come back", len(b.port.written)-2)
	}
	if stack.refuse = packet.PortFull; b.vrf.portAt(2) != nil {
		t.Error("there is a third port")
	}
	b.fromTunnel(b.two, ip4(c4, "10.9.0.1", 100), ip4(c4, a4, 100))
	if s, _ := b.plane.TunnelStats(b.two.index); s.Drops[packet.PortFull] != 1 || len(s.Drops) != 1 {
		t.Errorf("a full port cost tunnel two %v", s.Drops)
	}
}
