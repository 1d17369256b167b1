package warren

import (
	"net/netip"
	"testing"
)

// TestKeepUpEnds: the packets that keep a child up go between addresses that it covers.
func TestKeepUpEnds(t *testing.T) {
	for _, c := range []struct {
		name          string
		tunnel, port  []netip.Prefix
		local, remote []netip.Prefix
		from, to      string
	}{
		{"a pair", prefixes("169.254.1.0/31"), prefixes("10.1.0.1/16"), nil, nil, "169.254.1.0", "169.254.1.1"},
		{"a pair that is not covered", prefixes("169.254.1.0/31"), prefixes("10.1.0.1/16"), prefixes("10.1.0.0/16"), prefixes("10.2.0.0/16"), "10.1.0.1", "10.2.0.1"},
		{"the port's address", nil, prefixes("fd01::1/64", "10.1.0.7/16"), prefixes("10.1.0.0/16"), prefixes("fd02::/64", "10.2.0.0/16"), "10.1.0.7", "10.2.0.1"},
		{"none of ours", nil, nil, prefixes("203.0.113.0/25"), prefixes("203.0.113.128/26"), "203.0.113.1", "203.0.113.129"},
	} {
		t.Run(c.name, func(t *testing.T) {
			child := &IKEChildConfig{}
			for _, p := range c.local {
				child.LocalTS = append(child.LocalTS, SelectorConfig{Prefix: p})
			}
			for _, p := range c.remote {
				child.RemoteTS = append(child.RemoteTS, SelectorConfig{Prefix: p})
			}
			u := &keepUp{tunnel: &tunnel{cfg: &TunnelConfig{Addresses: c.tunnel}, vrf: &vrf{cfg: &VRFConfig{}, addrs: c.port}}, child: child}
			from, to, ok := u.ends(&site{})
			if !ok || from.String() != c.from || to.String() != c.to {
				t.Errorf("%v to %v, %v, want %s to %s", from, to, ok, c.from, c.to)
			}
		})
	}
}
