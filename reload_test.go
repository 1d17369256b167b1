package warren

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// TestDiffPools: what was lent stays good.
func TestDiffPools(t *testing.T) {
	with := func(pools ...PoolConfig) *Config {
		c := good().withDefaults()
		c.Pools = pools
		return c
	}
	old := with(PoolConfig{Name: "road", Addresses: prefixes("10.5.0.0/24")})
	for _, c := range []struct {
		what string
		new  *Config
		keys []string
	}{
		{"more", with(PoolConfig{Name: "road", Addresses: prefixes("10.5.0.0/24", "10.6.0.0/24")}), nil},
		{"larger", with(PoolConfig{Name: "road", Addresses: prefixes("10.5.0.0/23")}), nil},
		{"another one, in front", with(PoolConfig{Name: "air"}, old.Pools[0]), nil},
		{"other servers", with(PoolConfig{Name: "road", Addresses: old.Pools[0].Addresses, DNS: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}), nil},
		{"none", with(), nil},
		{"smaller", with(PoolConfig{Name: "road", Addresses: prefixes("10.5.0.0/25")}), []string{"pools.road.addresses"}},
		{"elsewhere", with(PoolConfig{Name: "road", Addresses: prefixes("10.7.0.0/16")}), []string{"pools.road.addresses"}},
	} {
		_, err := diff(old, c.new)
		var restart *RestartError
		if errors.As(err, &restart); (restart == nil) != (c.keys == nil) || restart != nil && !slices.Equal(restart.Keys, c.keys) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestDiffTunnels: which tunnels stay, and which are made anew.
func TestDiffTunnels(t *testing.T) {
	config := func(change func(*TunnelConfig)) *Config {
		c := good()
		change(&c.Tunnels[0])
		return c.withDefaults()
	}
	old := config(func(*TunnelConfig) {})
	for _, c := range []struct {
		what   string
		change func(*TunnelConfig)
		kept   bool
	}{
		{"nothing", func(*TunnelConfig) {}, true},
		{"a weight", func(t *TunnelConfig) { t.Routes[0].Weight = 7 }, true},
		{"a route", func(t *TunnelConfig) { t.Routes = nil }, true},
		{"a neighbour", func(t *TunnelConfig) { t.BGP = &NeighborConfig{NeighborAS: 5} }, true},
		{"an address", func(t *TunnelConfig) { t.Addresses = prefixes("169.254.0.0/31") }, false},
		{"a key", func(t *TunnelConfig) { t.IPsec.Static.Out.Key[3]++ }, false},
		{"the MTU", func(t *TunnelConfig) { t.MTU = 1300 }, false},
		{"the name", func(t *TunnelConfig) { t.Name = "c" }, false},
	} {
		d, err := diff(old, config(c.change))
		if err != nil {
			t.Fatal(err)
		}
		if kept := d.kept["b"] != nil && !d.gone["b"]; kept != c.kept || !kept && !d.gone["b"] {
			t.Errorf("%s: kept %v, gone %v, come %v", c.what, d.kept, d.gone, d.come)
		}
	}
}

// TestPoolGrows: a pool that runs out lends again when it has grown, and what it lent stays lent.
func TestPoolGrows(t *testing.T) {
	small := &PoolConfig{Name: "road", Addresses: prefixes("10.5.0.0/30")}
	p := newPool(small, nil)
	any4 := []netip.Addr{netip.IPv4Unspecified()}
	lent := map[netip.Addr]bool{}
	lend := func() bool {
		l, err := p.Lease("road", message.ID{Type: message.IDFQDN, Data: []byte{byte(len(lent)) + 1}}, any4)
		if err != nil {
			return false
		}
		if lent[l.Addresses[0]] {
			t.Fatalf("%v is lent twice", l.Addresses[0])
		}
		lent[l.Addresses[0]] = true
		return true
	}
	for lend() {
	}
	if len(lent) != 2 {
		t.Fatalf("lent %v of %v", lent, small.Addresses)
	}
	p.cfg = &PoolConfig{Name: "road", Addresses: prefixes("10.5.0.0/29")}
	for lend() {
	}
	if len(lent) != 6 {
		t.Errorf("lent %v of %v", lent, p.cfg.Addresses)
	}
}
