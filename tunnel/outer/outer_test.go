package outer_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/outer"
)

// host is an underlay that only knows the way.
type host struct {
	dataplane.Underlay
	encap dataplane.Encap
	mtu   int // 0: nobody knows
	asked int
}

func (h *host) Encap() dataplane.Encap { return h.encap }

func (h *host) PathMTU(netip.Addr) (int, error) {
	if h.asked++; h.mtu == 0 {
		return 0, errors.New("no route")
	}
	return h.mtu, nil
}

func (h *host) to(remote string) *dataplane.Path {
	return &dataplane.Path{Underlay: h, Remote: netip.MustParseAddrPort(remote)}
}

var (
	discard = slog.New(slog.DiscardHandler)
	noon    = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

func TestRoomFollowsFromTheLink(t *testing.T) {
	for _, c := range []struct {
		what  string
		encap dataplane.Encap
		link  int
		mtu   int
		room  int
	}{
		{"UDP over IPv4", dataplane.Encap{UDP: true}, 1500, 1500, 1472},
		{"UDP over IPv6", dataplane.Encap{UDP: true, IPv6: true}, 1492, 1492, 1444},
		{"ESP over IPv4", dataplane.Encap{}, 9000, 9000, 8980},
		{"ESP over IPv6, no route", dataplane.Encap{IPv6: true}, 0, 1500, 1460},
	} {
		h := &host{encap: c.encap, mtu: c.link}
		var m outer.MTU
		m.Explore(h.to("192.0.2.1:1"), noon, discard)
		if m.Now() != c.mtu || m.Room(h.to("192.0.2.1:1")) != c.room {
			t.Errorf("%s: %d, room %d; want %d, %d", c.what, m.Now(), m.Room(h.to("192.0.2.1:1")), c.mtu, c.room)
		}
		m.Explore(nil, noon, discard)
		if m.Now() != 1500 || m.Room(nil) != 1472 {
			t.Errorf("without a path: %d, room %d", m.Now(), m.Room(nil))
		}
	}
}

func TestErrorsLowerWithinFloors(t *testing.T) {
	for _, c := range []struct {
		what         string
		ipv6         bool
		link         int
		says, before int // before: what an earlier error said
		want         int
		changed      bool
	}{
		{"smaller", false, 1500, 1400, 0, 1400, true},
		{"smaller, over IPv6", true, 1500, 1400, 0, 1400, true},
		{"smaller again", false, 1500, 1300, 1400, 1300, true},
		{"larger than an error said", false, 1500, 1450, 1400, 1400, false},
		{"the same", false, 1500, 1500, 0, 1500, false},
		{"larger than the link", false, 1400, 1500, 0, 1400, false},
		{"no route, smaller than is assumed", false, 0, 1400, 0, 1400, true},
		{"below the floor of IPv4", false, 1500, 68, 0, 576, true},
		{"below the floor of IPv6", true, 1500, 1279, 0, 1280, true},
		{"below the floor, where that holds", false, 1500, 1, 500, 576, false},
		{"below the floor, over a link that is at it", true, 1280, 1000, 0, 1280, false},
		{"below the floor, over a link that is below it", false, 400, 300, 0, 400, false},
		{"nonsense", false, 1500, -1, 0, 576, true},
	} {
		h := &host{encap: dataplane.Encap{UDP: true, IPv6: c.ipv6}, mtu: c.link}
		p := h.to("192.0.2.1:1")
		var m outer.MTU
		m.Explore(p, noon, discard)
		if c.before != 0 {
			m.Lower(p, c.before, noon)
		}
		got, changed := m.Lower(p, c.says, noon)
		if got != c.want || changed != c.changed || m.Now() != c.want {
			t.Errorf("%s: %d, changed %v, now %d; want %d, %v", c.what, got, changed, m.Now(), c.want, c.changed)
		}
		if lowered := c.changed || c.before != 0; lowered == m.LoweredUntil().IsZero() {
			t.Errorf("%s: lowered until %v", c.what, m.LoweredUntil())
		}
	}
}

func TestErrorsAreBelievedForTenMinutes(t *testing.T) {
	h := &host{encap: dataplane.Encap{UDP: true}, mtu: 1500}
	p := h.to("192.0.2.1:1")
	var m outer.MTU
	m.Explore(p, noon, discard)
	if m.Recover(p, noon.Add(10*time.Minute-1), discard) || h.asked != 1 {
		t.Error("recovered from nothing")
	}
	m.Lower(p, 1400, noon)
	m.Lower(p, 1300, noon.Add(time.Minute)) // news: the time begins anew
	m.Lower(p, 1300, noon.Add(2*time.Minute))
	until := noon.Add(11 * time.Minute)
	if m.LoweredUntil() != until {
		t.Errorf("believed until %v", m.LoweredUntil())
	}
	if m.Recover(p, until.Add(-time.Nanosecond), discard) || m.Now() != 1300 {
		t.Errorf("before its time: %d", m.Now())
	}
	h.mtu = 1480
	if !m.Recover(p, until, discard) || m.Now() != 1480 || !m.LoweredUntil().IsZero() {
		t.Errorf("recovered to %d, lowered until %v", m.Now(), m.LoweredUntil())
	}
	m.Lower(p, 1300, until)
	if m.Explore(p, noon, discard); m.Now() != 1480 || !m.LoweredUntil().IsZero() {
		t.Errorf("another path has %d, lowered until %v", m.Now(), m.LoweredUntil())
	}
	m.Lower(p, 1300, until)
	if !m.Recover(nil, until.Add(time.Hour), discard) || m.Now() != 1500 {
		t.Errorf("recovered without a path to %d", m.Now())
	}
	if m.Recover(nil, until.Add(time.Hour), discard) {
		t.Error("recovered without a path again")
	}
}

// TestSystemIsAskedAgain: what the system said of the route holds no longer than what an error said, since it may have been such an
// error that the system remembered; and where it still remembers the one that was believed here, the path goes on counting as lowered.
func TestSystemIsAskedAgain(t *testing.T) {
	h := &host{encap: dataplane.Encap{UDP: true}, mtu: 1300}
	p := h.to("192.0.2.1:1")
	var m outer.MTU
	m.Explore(p, noon, discard)
	h.mtu = 1500
	at := noon.Add(10 * time.Minute)
	if m.Now() != 1300 || !m.LoweredUntil().IsZero() || !m.Recover(p, at, discard) || m.Now() != 1500 {
		t.Errorf("%d, lowered until %v", m.Now(), m.LoweredUntil())
	}
	m.Lower(p, 1400, at)
	h.mtu = 1400
	at = at.Add(10 * time.Minute)
	if !m.Recover(p, at, discard) || m.Now() != 1400 || m.LoweredUntil() != at.Add(10*time.Minute) {
		t.Errorf("the system remembers: %d, lowered until %v", m.Now(), m.LoweredUntil())
	}
	h.mtu = 1500
	at = at.Add(10 * time.Minute)
	if !m.Recover(p, at, discard) || m.Now() != 1500 || !m.LoweredUntil().IsZero() {
		t.Errorf("the system forgot: %d, lowered until %v", m.Now(), m.LoweredUntil())
	}
}

// tunnel is one that knows where its frames go.
type tunnel struct{ path *dataplane.Path }

func (t *tunnel) Path() *dataplane.Path { return t.path }

func TestQuotedFindsWhoMayHaveSent(t *testing.T) {
	h, other := new(host), new(host)
	a, b, elsewhere, lost := &tunnel{h.to("192.0.2.1:4500")}, &tunnel{h.to("192.0.2.1:4500")}, &tunnel{h.to("192.0.2.2:4500")}, new(tunnel)
	var s outer.Senders[*tunnel]
	s.Remove(7, a)
	for _, x := range []*tunnel{a, b, elsewhere, lost} {
		s.Add(7, x)
	}
	s.Add(8, a)
	about := &dataplane.PathError{Remote: netip.MustParseAddrPort("192.0.2.1:0")} // of a raw socket: no port
	expect := func(what string, got []*tunnel, want ...*tunnel) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("two of one number", s.Quoted(7, h, about), a, b)
	expect("one of another number", s.Quoted(8, h, about), a)
	expect("nobody's number", s.Quoted(9, h, about))
	expect("another underlay", s.Quoted(7, other, about))
	expect("another way", s.Quoted(7, h, &dataplane.PathError{Remote: elsewhere.path.Remote}), elsewhere)
	s.Add(8, a)
	s.Remove(8, b)
	s.Remove(8, a)
	expect("after one of two is gone", s.Quoted(8, h, about), a)
	s.Remove(8, a)
	expect("after both are gone", s.Quoted(8, h, about))
	s.Remove(7, a)
	expect("after the first is gone", s.Quoted(7, h, about), b)
	expect("who else sends there", s.Towards(h, elsewhere.path.Remote.Addr()), elsewhere)
	expect("nobody sends there", s.Towards(other, elsewhere.path.Remote.Addr()))
	s.Add(9, elsewhere)
	expect("by two numbers", s.Towards(h, elsewhere.path.Remote.Addr()), elsewhere, elsewhere)
}

func TestDecapECN(t *testing.T) {
	for _, c := range []struct {
		inner, outer, want uint8
		drop               packet.Reason
	}{
		{wire.ECT0, wire.CE, wire.CE, packet.None},
		{wire.ECT1, wire.ECT0, wire.ECT1, packet.None},
		{wire.NotECT, wire.ECT1, wire.NotECT, packet.None},
		{wire.NotECT, wire.CE, wire.NotECT, packet.ECNInvalid},
		{wire.CE, wire.NotECT, wire.CE, packet.None},
	} {
		const dscp = 46 << 2
		b := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 1, 0, 5, 10, 2, 0, 5}
		wire.SetIPv4Checksum(b)
		wire.SetTOS(b, dscp|c.inner)
		p := packet.Packet{Buf: append([]byte{0xaa, 0xbb}, b...), Off: 2, Len: 20}
		if wire.Parse(p.Bytes(), &p.Info, false) != wire.OK {
			t.Fatal("the test's own packet is malformed")
		}
		var drop packet.Reason
		allocs := testing.AllocsPerRun(1, func() { drop = outer.DecapECN(&p, c.outer) })
		if drop != c.drop || p.Info.TOS != dscp|c.want || p.Bytes()[1] != dscp|c.want || wire.Checksum(p.Bytes(), 0) != 0 {
			t.Errorf("inner %d, outer %d: %v, TOS %#x, packet %x", c.inner, c.outer, drop, p.Info.TOS, p.Bytes())
		}
		if allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	}
}
