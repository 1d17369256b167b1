package warren

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// TestPool lends the addresses of a small pool: not those of the network, the broadcast or the port, none twice, to who comes again the
// one that he had, and to who asks for one that, if it is free.
func TestPool(t *testing.T) {
	addr := netip.MustParseAddr
	p := newPool(&PoolConfig{Name: "p", Addresses: prefixes("10.0.1.0/29", "fd00::/126"), DNS: []netip.Addr{addr("10.0.0.53")}},
		map[netip.Addr]bool{addr("10.0.1.6"): true})
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	id := func(name string) message.ID { return message.ID{Type: message.IDFQDN, Data: []byte(name)} }
	lease := func(name string, asked ...netip.Addr) []netip.Addr {
		t.Helper()
		l, err := p.Lease("tunnel", id(name), asked)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.DNS) != 1 {
			t.Errorf("DNS servers %v", l.DNS)
		}
		return l.Addresses
	}
	want := func(got []netip.Addr, all ...string) {
		t.Helper()
		var as []netip.Addr
		for _, a := range all {
			as = append(as, addr(a))
		}
		if !slices.Equal(got, as) {
			t.Errorf("%v, want %v", got, as)
		}
	}
	anna := lease("anna", any4)
	want(anna, "10.0.1.1")
	want(lease("bert", any4, any6), "10.0.1.2", "fd00::1")
	p.Release(ike.Lease{Addresses: anna})
	want(lease("carl", any4), "10.0.1.3") // 10.0.1.1 is kept for anna while there are others
	want(lease("anna", any4), "10.0.1.1")
	want(lease("dora", addr("10.0.1.5")), "10.0.1.5")
	want(lease("eve", addr("10.0.1.5")), "10.0.1.4") // which dora has
	if l, err := p.Lease("tunnel", id("fred"), []netip.Addr{any4}); err == nil {
		t.Errorf("a full pool lends %v", l)
	}
	p.Release(ike.Lease{Addresses: anna})
	want(lease("fred", any4), "10.0.1.1")
}
