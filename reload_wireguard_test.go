package warren

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
	"github.com/warrenvpn/warren/tunnel/wireguard/uapi"
)

// wgOf is a configuration with two peers: shared, of the device that peers share, and own, of one of its own.
func wgOf(t *testing.T) *Config {
	t.Helper()
	key := func() quick.Key {
		k, err := quick.GenKey()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	private := func() Secret { k := key(); return k[:] }
	peer := func(name, net string, own *WireGuardConfig) TunnelConfig {
		return TunnelConfig{Name: name, AllowedIPs: prefixes(net), WireGuard: &WireGuardPeerConfig{PublicKey: handshake.PublicKey(key().Public()),
			Endpoint: EndpointConfig{Addr: netip.MustParseAddr("192.0.2.2"), Port: 51820}, CryptokeyRouting: true, Own: own}}
	}
	return &Config{Underlay: UnderlayConfig{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		WireGuard: &WireGuardConfig{PrivateKey: private(), ListenPort: 51820, Interface: NoInterface}, VRFs: []VRFConfig{{Name: "main"}},
		Tunnels: []TunnelConfig{peer("shared", "10.1.0.0/16", nil),
			peer("own", "10.2.0.0/16", &WireGuardConfig{PrivateKey: private(), ListenPort: 51821, Interface: NoInterface})}}
}

// with is the configuration with something changed of both peers.
func (c *Config) with(change func(*TunnelConfig)) *Config {
	other := *c
	other.Tunnels = slices.Clone(c.Tunnels)
	for i := range other.Tunnels {
		w := *other.Tunnels[i].WireGuard
		other.Tunnels[i].WireGuard = &w
		change(&other.Tunnels[i])
	}
	return &other
}

// wgRunning runs a configuration.
func wgRunning(t *testing.T, cfg *Config) *Engine {
	t.Helper()
	e, err := New(cfg, WithNetwork(sim.New(sim.Config{})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s, err := e.running(ctx)
	if err != nil {
		t.Fatal(err)
	}
	<-s.begun
	return e
}

// set does with both peers what wg(8) asks for.
func (e *Engine) set(t *testing.T, cfg *Config, change func(*uapi.PeerChange)) {
	t.Helper()
	for i := range cfg.Tunnels {
		c := uapi.PeerChange{PublicKey: uapi.PublicKey(cfg.Tunnels[i].WireGuard.PublicKey)}
		change(&c)
		if err := (wgControl{e.site.deviceOf(&cfg.Tunnels[i])}).Set(uapi.Change{Peers: []uapi.PeerChange{c}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestApplyAfterWG: what wg(8) changed stays while the configuration says nothing else, and gives way where that does. Peers that it
// removed stay away until their configuration changes, and come with the port of their own.
func TestApplyAfterWG(t *testing.T) {
	cfg := wgOf(t)
	e := wgRunning(t, cfg)
	apply := func(c *Config) {
		t.Helper()
		if err := e.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	peers := func() (all []*WireGuardStatus) {
		for _, s := range e.Status().Tunnels {
			all = append(all, s.WireGuard)
		}
		return all
	}
	seven := uint16(7)
	more := uapi.AllowedIP{Prefix: netip.MustParsePrefix("10.9.0.0/16")}
	e.set(t, cfg, func(c *uapi.PeerChange) { c.PersistentKeepalive, c.AllowedIPs = &seven, []uapi.AllowedIP{more} })
	secret := slices.Repeat(Secret{9}, 32)
	keyed := cfg.with(func(c *TunnelConfig) { c.WireGuard.PresharedKey = secret })
	apply(keyed)
	for _, p := range peers() {
		if !p.PresharedKey || p.PersistentKeepalive != 7*time.Second || len(p.AllowedIPs) != 2 {
			t.Errorf("wg's changes are lost, or the key is: %+v", p)
		}
	}
	slow := keyed.with(func(c *TunnelConfig) { c.WireGuard.PersistentKeepalive = time.Minute })
	apply(slow)
	for _, p := range peers() {
		if p.PersistentKeepalive != time.Minute || len(p.AllowedIPs) != 2 {
			t.Errorf("the configuration's keepalive is not set: %+v", p)
		}
	}
	e.set(t, cfg, func(c *uapi.PeerChange) { c.Remove = true })
	apply(slow)
	if n := len(peers()); n != 0 {
		t.Fatalf("%d peers are back that wg removed", n)
	}
	moved := slow.with(func(c *TunnelConfig) { c.WireGuard.Endpoint.Port = 9 })
	apply(moved)
	for _, p := range peers() {
		if p.Endpoint != "192.0.2.2:9" || len(p.AllowedIPs) != 1 {
			t.Errorf("not as it is configured: %+v", p)
		}
	}
	if n := len(peers()); n != 2 {
		t.Errorf("%d peers are back whose configuration changed, want 2", n)
	}
	e.set(t, cfg, func(c *uapi.PeerChange) { c.Remove = true })
	none := *cfg
	none.Tunnels = nil
	apply(&none)
	if n := len(e.site.devices()); n != 1 {
		t.Errorf("%d devices are left, want the shared one", n)
	}
}

// TestApplyAfterRefusal: a change of peers that is refused leaves them as they are, and the next reload makes it. Routes that came with it
// are there.
func TestApplyAfterRefusal(t *testing.T) {
	cfg := wgOf(t)
	e := wgRunning(t, cfg)
	whole := netip.MustParsePrefix("10.0.0.0/8")
	moved := cfg.with(func(c *TunnelConfig) {
		c.WireGuard.Endpoint.Port, c.WireGuard.PersistentKeepalive = 9, time.Minute
		c.AllowedIPs = append(slices.Clone(c.AllowedIPs), netip.PrefixFrom(c.AllowedIPs[0].Addr().Next(), 32))
		c.Routes = []RouteConfig{{Prefix: whole}}
	})
	expect := func(what, endpoint string, keepalive time.Duration, allowed int) {
		t.Helper()
		all := e.Status().Tunnels
		for _, s := range all {
			if p := s.WireGuard; p.Endpoint != endpoint || p.PersistentKeepalive != keepalive || len(p.AllowedIPs) != allowed {
				t.Errorf("%s: %+v", what, p)
			}
		}
		if len(all) != 2 {
			t.Errorf("%s: %d peers", what, len(all))
		}
		for i, peer := range e.site.allTunnels() {
			if at := e.cfg.Tunnels[i].WireGuard.Endpoint; at != *peer.expected() || at.String() != endpoint {
				t.Errorf("%s: the peer is said to be at %v, and expected at %v", what, at, peer.expected())
			}
		}
		if r := e.Routes(whole); len(r) == 0 || len(r[0].Hops) != 2 {
			t.Errorf("%s: the routes are %+v", what, r)
		}
	}
	keys := map[*wgDevice]handshake.PrivateKey{}
	for _, d := range e.site.devices() {
		d.mu.Lock()
		keys[d], d.key = d.key, handshake.PrivateKey{} // without a key nothing can be set
		d.mu.Unlock()
	}
	for range 2 {
		if err := e.Apply(moved); !errors.Is(err, ErrPartlyApplied) || !strings.Contains(err.Error(), "needs a private key") {
			t.Errorf("a change that is refused: %v", err)
		}
		expect("refused", "192.0.2.2:51820", 0, 1)
	}
	for d, key := range keys {
		d.mu.Lock()
		d.key = key
		d.mu.Unlock()
	}
	if err := e.Apply(moved); err != nil {
		t.Fatal(err)
	}
	expect("tried again", "192.0.2.2:9", time.Minute, 2)
	seven := uint16(7)
	e.set(t, cfg, func(c *uapi.PeerChange) { c.PersistentKeepalive = &seven })
	if err := e.Apply(moved); err != nil {
		t.Fatal(err)
	}
	expect("after that", "192.0.2.2:9", 7*time.Second, 2)
}

// TestWGRefusesMapped: what cannot be a peer's is refused to wg(8), also of peers whose allowed addresses are but a filter, and then
// nothing is changed.
func TestWGRefusesMapped(t *testing.T) {
	for _, routing := range []bool{false, true} {
		cfg := wgOf(t).with(func(c *TunnelConfig) { c.WireGuard.CryptokeyRouting = routing })
		e := wgRunning(t, cfg)
		seven := uint16(7)
		mapped := uapi.PeerChange{PublicKey: uapi.PublicKey(cfg.Tunnels[0].WireGuard.PublicKey), PersistentKeepalive: &seven,
			AllowedIPs: []uapi.AllowedIP{{Prefix: netip.MustParsePrefix("::ffff:10.0.0.0/104")}}}
		err := wgControl{e.site.deviceOf(&cfg.Tunnels[0])}.Set(uapi.Change{Peers: []uapi.PeerChange{mapped}})
		if !errors.Is(err, syscall.EINVAL) {
			t.Errorf("cryptokey routing %v: %v", routing, err)
		}
		for _, s := range e.Status().Tunnels {
			if p := s.WireGuard; p.PersistentKeepalive != 0 || len(p.AllowedIPs) != 1 {
				t.Errorf("cryptokey routing %v: %+v", routing, p)
			}
		}
	}
}
