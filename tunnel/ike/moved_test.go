package ike

import (
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// TestWhoIsFollowed: only who is not behind a NAT follows, and only a peer that is behind one (RFC 7296 section 2.23), whether it is
// an IKE message or ESP that comes from elsewhere. Following or not, a request is answered where it came from.
func TestWhoIsFollowed(t *testing.T) {
	outside := netip.MustParseAddr("203.0.113.9")
	for _, c := range []struct {
		name       string
		moon, sun  bool // behind a NAT
		pretending Encap
		by         func(p *pair) (who, from *node)
		follows    bool
	}{
		{name: "nobody behind a NAT", by: ofMoon},
		{name: "nobody behind a NAT, who initiated", by: ofSun},
		{name: "the peer is", moon: true, by: ofMoon, follows: true},
		{name: "the peer pretends to be", pretending: EncapAlways, by: ofMoon, follows: true},
		{name: "who pretends to be", pretending: EncapAlways, by: ofSun},
		{name: "we are", moon: true, by: ofSun},
		{name: "the peer that answered is", sun: true, by: ofSun, follows: true},
		{name: "we are, who answered", sun: true, by: ofMoon},
		{name: "both are", moon: true, sun: true, by: ofMoon},
		{name: "both are, who initiated", moon: true, sun: true, by: ofSun},
	} {
		for _, esp := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: ", ESP", false: ", IKE"}[esp], func(t *testing.T) {
				p := newPair(t, 33)
				p.nat = map[netip.AddrPort]netip.AddrPort{}
				for _, port := range []uint16{500, 4500} {
					if c.moon {
						p.nat[netip.AddrPortFrom(p.moon.addr.Addr(), port)] = netip.AddrPortFrom(outside, 10000+port)
					}
					if c.sun { // with its ports forwarded
						p.nat[netip.AddrPortFrom(p.sun.addr.Addr(), port)] = netip.AddrPortFrom(outside.Next(), port)
					}
				}
				p.moonCfg.Encap = c.pretending
				p.sunCfg.Remote = netip.Addr{}
				if c.sun {
					p.moonCfg.Remote = outside.Next()
				}
				p.up()
				who, from := c.by(p)
				sa, theirs := onlySA(t, who), onlySA(t, from)
				for _, child := range who.sas {
					if child.Roams != c.follows {
						t.Errorf("of the child it is said that its peer roams: %v, want %v", child.Roams, c.follows)
					}
				}
				was, elsewhere := sa.path, netip.MustParseAddrPort("198.51.100.77:4077")
				if esp {
					for in := range who.sas {
						who.do(who.Moved(p.now, in, elsewhere))
					}
				} else {
					request, err := theirs.protect(message.Informational, theirs.out.next, false, nil)
					if err != nil {
						t.Fatal(err)
					}
					actions := who.Receive(p.now, was.Local, elsewhere, was.NATT, request[0])
					if len(actions) == 0 {
						t.Fatal("the request was not answered")
					}
					for _, a := range actions {
						if s, ok := a.(Send); ok && s.To != elsewhere {
							t.Errorf("a request from %v is answered to %v", elsewhere, s.To)
						}
					}
					who.all = append(who.all, actions...)
				}
				want := was
				if c.follows {
					want.Remote = elsewhere
				}
				moved := find[PeerMoved](who)
				if sa.path != want || (len(moved) == 1) != c.follows || len(moved) > 1 {
					t.Errorf("the peer was at %v and is at %v now, want %v; told of it %d times", was.Remote, sa.path.Remote, want.Remote, len(moved))
				}
				who.must(who.Rekey(p.now, from.name, ""))
				if sent := find[Send](who); sent[len(sent)-1].To != want.Remote {
					t.Errorf("what is asked goes to %v, want %v", sent[len(sent)-1].To, want.Remote)
				}
			})
		}
	}
}

func ofMoon(p *pair) (who, from *node) { return p.sun, p.moon }

func ofSun(p *pair) (who, from *node) { return p.moon, p.sun }
