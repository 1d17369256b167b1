package ike

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// TestForgedMessagesChangeNothing: until its integrity is proved a message neither moves a peer that is behind a NAT, nor counts as
// a sign of life, nor is answered. The same message, not forged, does all of it.
func TestForgedMessagesChangeNothing(t *testing.T) {
	inside := netip.MustParseAddrPort("192.0.2.1:4500")
	p := newPair(t, 7)
	p.sunCfg.Remote = netip.Addr{}
	p.nat = map[netip.AddrPort]netip.AddrPort{netip.AddrPortFrom(inside.Addr(), 500): netip.MustParseAddrPort("203.0.113.9:1500"), inside: netip.MustParseAddrPort("203.0.113.9:14500")}
	p.up()
	for _, response := range []bool{false, true} {
		sa := onlySA(t, p.sun)
		var held []packet
		p.filter = func(k *packet) bool {
			if k.to.Addr() == p.sun.addr.Addr() && len(k.data) > message.HeaderLen {
				held = append(held, *k)
				return false
			}
			return true
		}
		if response {
			p.sun.must(p.sun.Rekey(p.now, "moon", "net"))
		} else {
			p.moon.must(p.moon.Rekey(p.now, "sun", "net"))
		}
		p.run(100 * time.Millisecond)
		if len(held) == 0 {
			t.Fatal("nothing was said")
		}
		genuine := held[0]
		if h, err := message.ParseHeader(genuine.data); err != nil || h.Response() != response {
			t.Fatalf("held is %+v, %v; want a response: %v", h, err, response)
		}
		path, heard, actions := sa.path, sa.life.heard, len(p.sun.all)
		forger := netip.MustParseAddrPort("198.51.100.66:4500")
		for at := message.HeaderLen; at < len(genuine.data); at += 7 {
			forged := bytes.Clone(genuine.data)
			forged[at] ^= 0x10
			p.sun.do(p.sun.Receive(p.now, genuine.to, forger, genuine.natt, forged))
		}
		p.sun.do(p.sun.Receive(p.now, genuine.to, forger, genuine.natt, genuine.data[:message.HeaderLen]))
		if sa.path != path || sa.life.heard != heard || len(p.sun.all) != actions {
			t.Fatalf("response %v: a forger has the peer at %v, heard of %v ago; said %+v", response, sa.path.Remote, p.now.Sub(sa.life.heard), p.sun.all[actions:])
		}
		p.filter = nil
		now := netip.AddrPortFrom(p.nat[inside].Addr(), p.nat[inside].Port()+1)
		p.nat[inside] = now
		p.sun.do(p.sun.Receive(p.now, genuine.to, now, genuine.natt, genuine.data))
		if sa.path.Remote != now || sa.life.heard != p.now {
			t.Errorf("response %v: the peer is at %v, heard of %v ago; want it at %v", response, sa.path.Remote, p.now.Sub(sa.life.heard), now)
		}
		p.run(time.Minute)
		p.agree(1)
	}
}

// onlySA is the one IKE SA of a node.
func onlySA(t *testing.T, n *node) (sa *ikeSA) {
	t.Helper()
	if len(n.Endpoint.sas) != 1 {
		t.Fatalf("%d IKE SAs", len(n.Endpoint.sas))
	}
	for _, sa = range n.Endpoint.sas {
	}
	return sa
}
