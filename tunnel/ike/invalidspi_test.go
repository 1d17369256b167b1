package ike

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// strays has a node see ESP from an address for a time, each second a packet, and counts the messages that it sends meanwhile.
func (p *pair) strays(nd *node, from netip.AddrPort, d time.Duration, spi func() uint32) (sent int) {
	before := len(find[Send](nd))
	for end := p.now.Add(d); !p.now.After(end); {
		nd.do(nd.Stray(p.now, from, spi()))
		p.run(time.Second)
	}
	return len(find[Send](nd)) - before
}

func only(spi uint32) func() uint32 { return func() uint32 { return spi } }

// TestLostChildComesBack: one side has lost a child SA and the other sends by it. That one is told, finds it to be so, and makes a new
// one.
func TestLostChildComesBack(t *testing.T) {
	for _, esp := range []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0"), netip.MustParseAddrPort("192.0.2.1:4500")} {
		p := newPair(t, 81)
		p.up()
		lost := onlySA(t, p.sun).children[0]
		p.sun.do(p.sun.handle(p.now, func() { lost.become(gone, errPeerClosed) }))
		if n := p.strays(p.sun, esp, strayFor-2*time.Second, only(lost.is.In)); n != 0 {
			t.Errorf("%d messages before it is sure", n)
		}
		p.strays(p.sun, esp, 4*time.Second, only(lost.is.In))
		p.agree(1)
		if n := len(find[ChildUp](p.moon)); n != 2 {
			t.Errorf("%d children came up, want another one", n)
		}
		if n := len(find[IKEUp](p.moon)); n != 1 {
			t.Errorf("%d IKE SAs", n)
		}
	}
}

// TestStraysThatNobodySent: what others send is not answered, from whatever address they say it comes, and what a peer goes on
// sending seldom.
func TestStraysThatNobodySent(t *testing.T) {
	p := newPair(t, 82)
	p.up()
	peer, nobody := p.moon.addr, netip.MustParseAddrPort("198.51.100.1:4500")
	r := rand.New(rand.NewPCG(82, 1))
	if n := p.strays(p.sun, nobody, 5*time.Minute, only(77)); n != 0 {
		t.Errorf("%d messages about an address that is no peer's", n)
	}
	if n := p.strays(p.sun, peer, 5*time.Minute, r.Uint32); n != 0 {
		t.Errorf("%d messages about SPIs that did not come again", n)
	}
	p.run(2 * strayGap)
	if n := p.strays(p.sun, peer, 5*time.Minute, only(77)); n < 8 || n > 10 {
		t.Errorf("%d messages in five minutes, want one in %v", n, strayEvery)
	}
	p.run(2 * strayGap)
	// Two SPIs that go on coming: one of them is told.
	n := 0
	if sent := p.strays(p.sun, peer, 10*time.Second, func() uint32 { n++; return uint32(n%2 + 300) }); sent != 1 {
		t.Errorf("%d messages about two SPIs that go on coming", sent)
	}
	sent := len(find[Send](p.sun))
	for range 10 {
		p.run(2 * strayGap)
		p.sun.do(p.sun.Stray(p.now, peer, 400))
	}
	if n := len(find[Send](p.sun)) - sent; n != 0 {
		t.Errorf("%d messages about an SPI that seldom comes", n)
	}
	if m := len(find[ChildRekeyed](p.moon)) + len(find[ChildUp](p.moon)); m != 1 {
		t.Errorf("%d child SAs made", m)
	}
	p.agree(1)
}

// TestStrayBehindOneAddress: of several peers behind one NAT that is told which sent it.
func TestStrayBehindOneAddress(t *testing.T) {
	p := newPair(t, 83)
	p.moonCfg.Encap = EncapAlways
	p.up()
	sa := onlySA(t, p.sun)
	other := netip.AddrPortFrom(sa.path.Remote.Addr(), sa.path.Remote.Port()+1)
	if n := p.strays(p.sun, other, 20*time.Second, only(77)); n != 0 {
		t.Errorf("%d messages to another port's peer", n)
	}
	if n := p.strays(p.sun, sa.path.Remote, 20*time.Second, only(77)); n != 1 {
		t.Errorf("%d messages to the peer, want 1", n)
	}
	p.run(2 * strayGap)
	if n := p.strays(p.sun, netip.AddrPortFrom(other.Addr(), 0), 20*time.Second, only(77)); n != 1 {
		t.Errorf("%d messages about ESP that is not in UDP, want 1", n)
	}
}

// denies is a request that says that SPIs are unknown.
type denies struct {
	probe
	data [][]byte
}

func (r denies) begin(*ikeSA) (ex message.ExchangeType, all []message.Payload, ok bool) {
	for _, d := range r.data {
		all = append(all, &message.Notify{Type: message.InvalidSPI, Data: d})
	}
	return message.Informational, all, true
}

// TestToldOfAnUnknownSPI: a peer's word is checked by rekeying, once, and only of what it can have lost.
func TestToldOfAnUnknownSPI(t *testing.T) {
	for _, tc := range []struct {
		name  string
		wait  time.Duration
		data  func(out uint32) [][]byte
		rekey bool
	}{
		{"it has it", time.Minute, func(out uint32) [][]byte { spi := binary.BigEndian.AppendUint32(nil, out); return [][]byte{spi, spi} }, true},
		{"it is new", 0, func(out uint32) [][]byte { return [][]byte{binary.BigEndian.AppendUint32(nil, out)} }, false},
		{"another", time.Minute, func(out uint32) [][]byte { return [][]byte{binary.BigEndian.AppendUint32(nil, out+1)} }, false},
		{"no SPI", time.Minute, func(out uint32) [][]byte { return [][]byte{nil, {1}, make([]byte, 8)} }, false},
	} {
		p := newPair(t, 84)
		p.add()
		p.moon.must(p.moon.Initiate(p.now, "sun", ""))
		p.run(time.Second + tc.wait)
		sa := onlySA(t, p.sun)
		p.sun.do(p.sun.handle(p.now, func() { sa.enqueue(denies{data: tc.data(onlySA(t, p.moon).children[0].is.Out)}) }))
		p.run(time.Minute)
		p.agree(1)
		if n := len(find[ChildRekeyed](p.moon)); n > 1 || (n == 1) != tc.rekey {
			t.Errorf("%s: rekeyed %d times, want it: %v", tc.name, n, tc.rekey)
		}
	}
}
