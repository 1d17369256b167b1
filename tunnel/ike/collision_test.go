package ike

import (
	"fmt"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/race"
)

// An exchange is what one side may begin at any time.
type exchange struct {
	name  string
	begin func(p *pair, nd *node, peer string)
	ends  bool // what was up need not be up afterwards
}

// exchanges are all kinds: those of RFC 7296 section 2.25 and what may cross them.
var exchanges = []exchange{
	{name: "rekey child", begin: func(p *pair, nd *node, peer string) { nd.must(nd.Rekey(p.now, peer, "net")) }},
	{name: "rekey IKE", begin: func(p *pair, nd *node, peer string) { nd.must(nd.Rekey(p.now, peer, "")) }},
	{name: "new child", begin: func(p *pair, nd *node, peer string) { nd.must(nd.Initiate(p.now, peer, "web")) }},
	{name: "delete child", ends: true, begin: func(p *pair, nd *node, peer string) { nd.must(nd.Terminate(p.now, peer, "net")) }},
	{name: "delete IKE", ends: true, begin: func(p *pair, nd *node, peer string) { nd.must(nd.Terminate(p.now, peer, "")) }},
	{name: "probe", begin: func(p *pair, nd *node, _ string) {
		nd.do(nd.handle(p.now, func() { newestSA(nd).enqueue(probe{}) }))
	}},
	{name: "reauthenticate", begin: func(p *pair, nd *node, _ string) { nd.do(nd.handle(p.now, newestSA(nd).reauthenticate)) }},
	{name: "again from nothing", ends: true, begin: func(p *pair, nd *node, peer string) {
		nd.must(nd.Terminate(p.now, peer, ""))
		nd.must(nd.Initiate(p.now, peer, "net"))
	}},
}

// Every pair of exchanges, begun by the two sides at once, one a little after the other, or while the other's answer is on
// its way: both sides agree afterwards, and nothing was sent twice.
func TestCollisions(t *testing.T) {
	offsets := []time.Duration{-25, -15, -5, 0, 5, 15, 25} // the way takes 10 ms
	variants := uint64(2)                                  // who has the lower nonce
	if race.Enabled {
		offsets = []time.Duration{-5, 0, 15}
	}
	for _, pfs := range []string{"", "-curve25519-ke1_ecp256"} {
		for _, a := range exchanges {
			for _, b := range exchanges {
				t.Run(fmt.Sprint(a.name, " and ", b.name, pfs), func(t *testing.T) {
					for _, offset := range offsets {
						for variant := range variants {
							collide(t, a, b, pfs, offset*time.Millisecond, variant)
						}
					}
				})
			}
		}
	}
}

func collide(t *testing.T, a, b exchange, pfs string, offset time.Duration, variant uint64) {
	p := newPair(t, 400+variant)
	severalChildren(p, "web")
	for _, c := range []*PeerConfig{&p.moonCfg, &p.sunCfg} {
		for i := range c.Children {
			c.Children[i].Proposals = espList(t, "aes256gcm16"+pfs)
		}
	}
	p.add()
	p.moon.must(p.moon.Initiate(p.now, "sun", "net"))
	p.run(5 * time.Second)
	p.agree(1)
	seen := map[string]bool{}
	p.filter = func(k *packet) bool {
		if seen[string(k.data)] {
			t.Errorf("offset %v, variant %d: sent twice", offset, variant)
		}
		seen[string(k.data)] = true
		return true
	}
	if offset >= 0 {
		a.begin(p, p.moon, "sun")
		p.run(offset)
		b.begin(p, p.sun, "moon")
	} else {
		b.begin(p, p.sun, "moon")
		p.run(-offset)
		a.begin(p, p.moon, "sun")
	}
	p.run(time.Minute)
	if err := p.check(); err != nil {
		p.dump()
		t.Errorf("offset %v, variant %d: %v", offset, variant, err)
	}
	children := 1
	if a.name == "new child" || b.name == "new child" {
		children = 2
	}
	if !a.ends && !b.ends && (len(p.moon.sas) != children || len(p.moon.ikes) != 1) {
		p.dump()
		t.Errorf("offset %v, variant %d: %d children of %d IKE SAs, want %d of 1", offset, variant, len(p.moon.sas), len(p.moon.ikes), children)
	}
}
