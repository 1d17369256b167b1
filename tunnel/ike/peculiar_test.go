package ike

import (
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Peers that do not do what ours does.

// answersWith has a node answer all requests of an exchange with r, whatever they ask, and do nothing else about them.
func (p *pair) answersWith(nd *node, exchange message.ExchangeType, r reply) {
	before := p.filter
	p.filter = func(k *packet) bool {
		h, err := message.ParseHeader(k.data)
		if err != nil || h.Response() || h.Exchange != exchange || k.to.Addr() != nd.addr.Addr() {
			return before == nil || before(k)
		}
		ours := h.SPIi
		if h.FromInitiator() {
			ours = h.SPIr
		}
		sa := nd.Endpoint.sas[ours]
		if sa == nil || h.MessageID != sa.in.next {
			return false
		}
		nd.do(nd.handle(p.now, func() { sa.answer(sa.path, h, r) }))
		return false
	}
}

// TestNoAdditionalSAs: a peer that makes no other SAs in an IKE SA (RFC 7296 sections 1.3 and 4) has a new one made, with all children,
// before the old one goes, by whoever wanted to rekey.
func TestNoAdditionalSAs(t *testing.T) {
	for _, byInitiator := range []bool{true, false} {
		for _, child := range []string{"net", ""} {
			p := newPair(t, 71)
			p.up()
			nd, minimal, name := p.moon, p.sun, "sun"
			if !byInitiator {
				nd, minimal, name = p.sun, p.moon, "moon"
			}
			p.answersWith(minimal, message.CreateChildSA, replyNotify(message.NoAdditionalSAs))
			for again := range 2 {
				nd.must(nd.Rekey(p.now, name, child))
				if again == 1 { // two refusals are as good as one
					nd.must(nd.Rekey(p.now, name, "net"))
					nd.must(nd.Rekey(p.now, name, ""))
				}
				for end := p.now.Add(time.Minute); p.step(end); {
					if len(p.moon.sas) == 0 || len(p.sun.sas) == 0 {
						t.Fatalf("rekeyed %q: there is no child", child)
					}
				}
				p.agree(1)
				if n := len(find[IKEUp](nd)); n != 2+again {
					t.Errorf("rekeyed %q: %d IKE SAs made, want %d", child, n, 2+again)
				}
			}
		}
	}
}

// TestNoAdditionalSAsOfAClient: who cannot begin leaves the IKE SA as it is, and tries again from time to time.
func TestNoAdditionalSAsOfAClient(t *testing.T) {
	for _, child := range []string{"net", ""} {
		p := newPair(t, 72)
		p.sunCfg.Remote = netip.Addr{}
		p.up()
		p.answersWith(p.moon, message.CreateChildSA, replyNotify(message.NoAdditionalSAs))
		p.sun.must(p.sun.Rekey(p.now, "moon", child))
		p.run(time.Minute)
		p.agree(1)
		asked := onlySA(t, p.sun).out.next
		if asked < 5 || asked > 30 {
			t.Errorf("rekeyed %q: asked %d times in a minute", child, asked)
		}
		if n := len(find[IKEUp](p.sun)); n != 1 {
			t.Errorf("rekeyed %q: %d IKE SAs made", child, n)
		}
	}
}

// TestRekeysOnAndOn: a peer that rekeys a child and deletes nothing cannot make as many as it likes.
func TestRekeysOnAndOn(t *testing.T) {
	p := newPair(t, 73)
	p.up()
	p.answersWith(p.sun, message.Informational, reply{})
	for range maxChildren + 10 {
		p.moon.must(p.moon.Rekey(p.now, "sun", "net"))
		p.run(100 * time.Millisecond)
	}
	for _, sa := range p.sun.Endpoint.sas {
		if n := len(sa.children); n > maxChildren {
			t.Errorf("%d children in an IKE SA", n)
		}
	}
	if n := len(find[IKEUp](p.sun)); n != 2 {
		t.Errorf("%d IKE SAs; the peer should have begun another one when it was refused", n)
	}
}

// TestRekeysTheIKESAOnAndOn: the same with the IKE SA itself. Once the old ones are gone by themselves it may go on.
func TestRekeysTheIKESAOnAndOn(t *testing.T) {
	p := newPair(t, 75)
	p.up()
	p.answersWith(p.sun, message.Informational, reply{})
	for range 10 * maxReplaced {
		p.moon.must(p.moon.Rekey(p.now, "sun", ""))
		p.run(100 * time.Millisecond)
		if n := len(p.sun.Endpoint.sas); n > maxReplaced+1 {
			t.Fatalf("%d IKE SAs are kept", n)
		}
	}
	made := len(find[IKERekeyed](p.sun))
	p.filter = nil
	p.run(onlyAlive(t, p.sun).replacedFor())
	if n := len(find[IKERekeyed](p.sun)); n <= made {
		t.Error("it is never rekeyed again")
	}
	p.run(time.Minute)
	p.agree(1)
	for range 3 * maxReplaced { // a peer that deletes what it replaces is not held up
		made = len(find[IKERekeyed](p.sun))
		p.moon.must(p.moon.Rekey(p.now, "sun", ""))
		p.run(time.Second)
		if len(find[IKERekeyed](p.sun)) != made+1 {
			t.Fatal("not rekeyed")
		}
	}
}

// onlyAlive is the one IKE SA of a node that is neither replaced nor deleted.
func onlyAlive(t *testing.T, nd *node) (alive *ikeSA) {
	t.Helper()
	for _, sa := range nd.Endpoint.sas {
		if sa.alive() {
			if alive != nil {
				t.Fatal("two IKE SAs are alive")
			}
			alive = sa
		}
	}
	return alive
}

// TestAnswerNotUnderstood: an authentic answer that cannot be parsed ends the IKE SA on both sides at once: nobody can say what the
// peer has made.
func TestAnswerNotUnderstood(t *testing.T) {
	for _, what := range []struct {
		name    string
		first   message.PayloadType
		content []byte
	}{
		{"bad syntax", message.PayloadNonce, []byte{0, 0, 0, 4}},
		{"a critical payload that is not known", 200, []byte{0, 0x80, 0, 4}},
	} {
		for _, tc := range []struct {
			name     string
			exchange message.ExchangeType
			ask      func(p *pair)
		}{
			{"authentication", message.IKEAuth, func(*pair) {}},
			{"a child rekeyed", message.CreateChildSA, func(p *pair) { p.moon.must(p.moon.Rekey(p.now, "sun", "net")) }},
			{"another child", message.CreateChildSA, func(p *pair) { p.moon.must(p.moon.Initiate(p.now, "sun", "web")) }},
			{"a child deleted", message.Informational, func(p *pair) { p.moon.must(p.moon.Terminate(p.now, "sun", "net")) }},
		} {
			p := newPair(t, 74)
			severalChildren(p, "web")
			p.moonCfg.KeyingTries = 1
			p.add()
			once := true
			garble := func(k *packet) bool {
				h, err := message.ParseHeader(k.data)
				if err != nil || !h.Response() || h.Exchange != tc.exchange || !once {
					return true
				}
				once = false
				sun := p.sun.Endpoint.sas[h.SPIr]
				d := sun.forge(h.Exchange, h.MessageID, true, what.first, what.content)
				p.moon.do(p.moon.Receive(p.now, k.to, k.from, k.natt, d))
				return false
			}
			if tc.exchange == message.IKEAuth {
				p.filter = garble
			}
			p.moon.must(p.moon.Initiate(p.now, "sun", "net"))
			p.run(time.Second)
			p.filter = garble
			tc.ask(p)
			p.run(10 * time.Second) // what was replaced lingers
			if once {
				t.Fatalf("%s, %s: no answer", tc.name, what.name)
			}
			if len(p.moon.ikes) != 0 || len(p.sun.ikes) != 0 || len(p.moon.sas) != 0 || len(p.sun.sas) != 0 {
				t.Errorf("%s, %s: %d and %d IKE SAs, %d and %d children", tc.name, what.name, len(p.moon.ikes), len(p.sun.ikes), len(p.moon.sas), len(p.sun.sas))
			}
			p.run(time.Minute)
			p.agree(0)
		}
	}
}
