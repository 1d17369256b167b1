package ike

import (
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// TestAnswersStayWithinTheOffer: a responder may narrow what was offered (RFC 7296 section 2.9), and may not widen it.
func TestAnswersStayWithinTheOffer(t *testing.T) {
	p := newPair(t, 12)
	p.up()
	sa, cfg := onlySA(t, p.moon), &p.moonCfg.Children[0]
	for _, c := range []struct {
		what          string
		local, remote []message.TrafficSelector
		want          bool
	}{
		{"all of it", ts("10.1.0.0/16"), ts("10.2.0.0/16"), true},
		{"less", ts("10.1.7.0/24", "10.1.9.0/24"), ts("10.2.0.1/32"), true},
		{"more of ours", ts("10.0.0.0/8"), ts("10.2.0.0/16"), false},
		{"more of theirs", ts("10.1.0.0/16"), ts("0.0.0.0/0"), false},
		{"another of ours beside", ts("10.1.0.0/16", "10.3.0.0/16"), ts("10.2.0.0/16"), false},
		{"another of theirs beside", ts("10.1.0.0/16"), ts("10.2.0.0/16", "10.3.0.0/16"), false},
		{"none", nil, nil, false},
	} {
		o, err := sa.newOffer(cfg, cfg.Proposals)
		if err != nil {
			t.Fatal(err)
		}
		defer sa.e.cfg.SPIs.Release(o.spi)
		o.nonce = sa.e.nonce()
		choice, err := proposal.Select(cfg.Proposals, o.proposals)
		if err != nil {
			t.Fatal(err)
		}
		_, err = o.accept(sa, []message.Payload{&message.SA{Proposals: choice.Answer([]byte{0, 1, 0, 1})}, &message.Nonce{Data: sa.e.nonce()},
			&message.TSi{Selectors: c.local}, &message.TSr{Selectors: c.remote}})
		if (err == nil) != c.want {
			t.Errorf("%s: %v, want it accepted: %v", c.what, err, c.want)
		}
	}
}
