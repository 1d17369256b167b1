package ike

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// knock sends an IKE_SA_INIT with a cookie, if it is not empty, and returns the one that is asked for.
func knock(p *pair, from netip.AddrPort, i uint64, cookie []byte) (asked []byte) {
	p.t.Helper()
	m, err := message.Parse(floodRequest(p.t, i, p.sunCfg.Proposals))
	if err != nil {
		p.t.Fatal(err)
	}
	if len(cookie) > 0 {
		m.Payloads = append([]message.Payload{&message.Notify{Type: message.Cookie, Data: cookie}}, m.Payloads...)
	}
	request, err := m.Append(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, a := range p.sun.Receive(p.now, p.sun.addr, from, false, request) {
		s, ok := a.(Send)
		if !ok {
			continue
		}
		answer, err := message.Parse(s.Datagram)
		if err != nil || s.To != from {
			p.t.Fatalf("answer to %v: %v", s.To, err)
		}
		if n := message.FindNotify(answer.Payloads, message.Cookie); n != nil {
			asked = n.Data
		}
	}
	return asked
}

// TestCookiesAreChecked: one that was made up, or for another address, SPI or nonce, proves nothing; the right one lets in, up to
// as many as may be half-open.
func TestCookiesAreChecked(t *testing.T) {
	p := newPair(t, 5)
	p.sun.cfg.CookieThreshold, p.sun.cfg.MaxHalfOpen = 0, 3
	template := p.sunCfg
	template.Name, template.Remote = "any", netip.Addr{}
	p.sun.must(p.sun.AddPeer(p.now, template))
	from, other := netip.MustParseAddrPort("198.51.100.1:500"), netip.MustParseAddrPort("198.51.100.2:500")
	halfOpen := func(want int) {
		t.Helper()
		if n := len(p.sun.Endpoint.sas); n != want {
			t.Fatalf("%d half-open, want %d", n, want)
		}
	}
	right := knock(p, from, 1, nil)
	if len(right) == 0 {
		t.Fatal("no cookie was asked for")
	}
	changed := bytes.Clone(right)
	changed[len(changed)-1] ^= 1
	for what, cookie := range map[string][]byte{
		"made up": bytes.Repeat([]byte{7}, len(right)), "changed": changed, "cut": right[:len(right)-1], "longer": append(bytes.Clone(right), 0),
		"of another address": knock(p, other, 1, nil), "of another request": knock(p, from, 2, nil),
	} {
		if asked := knock(p, from, 1, cookie); len(asked) == 0 {
			t.Errorf("a cookie that is %s: no other is asked for", what)
		}
		halfOpen(0)
	}
	if len(knock(p, from, 1, right)) != 0 {
		t.Error("the right cookie is refused")
	}
	halfOpen(1)
	for i := range uint64(9) {
		knock(p, from, 100+i, knock(p, from, 100+i, nil))
	}
	halfOpen(3)
}
