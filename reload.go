package warren

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// ErrNeedsRestart says that a configuration differs from the one that runs in what only a new start can change.
var ErrNeedsRestart = errors.New("needs a restart")

// RestartError names the keys for which a configuration cannot be applied to a running engine. It is ErrNeedsRestart.
type RestartError struct {
	// Keys as they are in the file, sorted: "underlay.addresses".
	Keys []string
}

// Error implements error.
func (e *RestartError) Error() string {
	what := "that"
	if len(e.Keys) > 1 {
		what = "each"
	}
	return fmt.Sprintf("changed, and %s %v: %s; nothing was applied", what, ErrNeedsRestart, strings.Join(e.Keys, ", "))
}

// Is implements errors.Is.
func (e *RestartError) Is(target error) bool { return target == ErrNeedsRestart }

// changes is what Apply has to do.
type changes struct {
	old, new *Config
	// gone and come are tunnels by name; one that changed is both. kept are those whose SAs and sessions stay.
	gone, come map[string]bool
	kept       map[string]*TunnelConfig
	// changed counts those of gone and come that are both, and those of kept whose routes or neighbour are others.
	changed int
}

// counts are for the log: added, removed and changed tunnels, and those that are as they were.
func (c *changes) counts() (added, removed, changed, same int) {
	both := 0
	for name := range c.come {
		if c.gone[name] {
			both++
		}
	}
	return len(c.come) - both, len(c.gone) - both, c.changed, len(c.kept) + both - c.changed
}

// diff compares two configurations that are complete and right. The error is a *RestartError.
func diff(from, to *Config) (*changes, error) {
	c := &changes{old: from, new: to, gone: map[string]bool{}, come: map[string]bool{}, kept: map[string]*TunnelConfig{}}
	r := new(restart)
	r.engine(from, to)
	r.vrfs(from, to)
	r.pools(from, to)
	if len(r.keys) > 0 {
		slices.Sort(r.keys)
		return nil, &RestartError{Keys: r.keys}
	}
	before := map[string]*TunnelConfig{}
	for i := range from.Tunnels {
		before[from.Tunnels[i].Name] = &from.Tunnels[i]
	}
	for i := range to.Tunnels {
		t := &to.Tunnels[i]
		was := before[t.Name]
		delete(before, t.Name)
		switch {
		case was == nil:
			c.come[t.Name] = true
		case sameTunnel(was, t):
			c.kept[t.Name] = t
			if !reflect.DeepEqual(was, t) {
				c.changed++
			}
		default:
			c.gone[t.Name], c.come[t.Name] = true, true
			c.changed++
		}
	}
	for name := range before {
		c.gone[name] = true
	}
	return c, nil
}

// sameTunnel says whether two configurations of a tunnel differ at most in what can change while its SAs and its session stay.
func sameTunnel(a, b *TunnelConfig) bool {
	if a.IPsec != nil && a.IPsec.any() {
		return reflect.DeepEqual(a, b) // its clients are made after all of it
	}
	return reflect.DeepEqual(a.lasting(), b.lasting())
}

// lasting is the configuration without what can change in place: routes, neighbour, and of a WireGuard peer what `wg set` changes.
func (t *TunnelConfig) lasting() *TunnelConfig {
	c := *t
	c.Routes, c.BGP = nil, nil
	if t.WireGuard != nil {
		w := *t.WireGuard
		w.PresharedKey, w.Endpoint, w.PersistentKeepalive = nil, EndpointConfig{}, 0
		c.WireGuard, c.AllowedIPs = &w, nil
	}
	return &c
}

// restart collects the keys that need one.
type restart struct{ keys []string }

func (r *restart) unless(same bool, key ...string) {
	if !same {
		r.keys = append(r.keys, keyPath(key).String())
	}
}

// whole names a mapping as a whole where it differs although none of its keys was named: since so many there were.
func (r *restart) whole(since int, same bool, key ...string) {
	if len(r.keys) == since {
		r.unless(same, key...)
	}
}

// engine compares what concerns the whole engine.
func (r *restart) engine(from, to *Config) {
	since := len(r.keys)
	a, b := &from.Underlay, &to.Underlay
	r.unless(slices.Equal(a.Addresses, b.Addresses), "underlay", "addresses")
	r.unless(a.UDPPort == b.UDPPort, "underlay", "udp_port")
	r.unless(a.IKEPort == b.IKEPort, "underlay", "ike_port")
	r.unless(a.Device == b.Device, "underlay", "device")
	r.unless(a.Mark == b.Mark, "underlay", "mark")
	r.unless(a.NetNS == b.NetNS, "underlay", "netns")
	r.whole(since, reflect.DeepEqual(a, b), "underlay")
	r.unless(from.Workers == to.Workers, "workers")
	r.unless(from.IKE == to.IKE, "ike")
	r.unless(from.KeyExport == to.KeyExport, "key_export")
	r.unless(from.ControlSocket() == to.ControlSocket(), "control", "socket")
	since = len(r.keys)
	if v, w := from.WireGuard, to.WireGuard; v != nil && w != nil {
		r.unless(slices.Equal(v.PrivateKey, w.PrivateKey), "wireguard", "private_key")
		r.unless(v.ListenPort == w.ListenPort, "wireguard", "listen_port")
		r.unless(v.Mark == w.Mark, "wireguard", "mark")
		r.unless(v.Interface == w.Interface, "wireguard", "interface")
		r.unless(v.VRF == w.VRF, "wireguard", "vrf")
	}
	r.whole(since, reflect.DeepEqual(from.WireGuard, to.WireGuard), "wireguard")
}

// vrfs compares the routing domains. The one that a tunnel's own port makes comes and goes with a restart too.
func (r *restart) vrfs(from, to *Config) {
	before := map[string]*VRFConfig{}
	for i := range from.VRFs {
		before[from.VRFs[i].Name] = &from.VRFs[i]
	}
	for i := range to.VRFs {
		v := &to.VRFs[i]
		was := before[v.Name]
		delete(before, v.Name)
		switch {
		case was == nil || was.ofTunnel != v.ofTunnel:
			r.keys = append(r.keys, v.key())
		default:
			r.unless(reflect.DeepEqual(was.Port, v.Port), append(v.path(), "port")...)
			r.bgp(v, was.BGP, v.BGP)
			r.kernel(v, was.Kernel, v.Kernel)
		}
	}
	for _, v := range before {
		r.keys = append(r.keys, v.key())
	}
}

// path is where the vrf is configured.
func (c *VRFConfig) path() []string {
	if c.ofTunnel {
		return []string{"tunnels", c.Name}
	}
	return []string{"vrfs", c.Name}
}

func (c *VRFConfig) key() string {
	if c.ofTunnel {
		return keyPath(append(c.path(), "port")).String()
	}
	return keyPath(c.path()).String()
}

// bgp compares what a speaker is; who its neighbours are, and what is said to them, may change.
func (r *restart) bgp(v *VRFConfig, a, b *BGPConfig) {
	at := func(key ...string) []string { return append(append(v.path(), "bgp"), key...) }
	if a == nil || b == nil {
		r.unless(a == b, at()...)
		return
	}
	since := len(r.keys)
	r.unless(a.LocalAS == b.LocalAS, at("local_as")...)
	r.unless(a.RouterID == b.RouterID, at("router_id")...)
	r.unless(slices.Equal(a.Addresses, b.Addresses), at("addresses")...)
	r.unless(a.Multipath == b.Multipath, at("multipath")...)
	r.unless(a.MultipathAcrossAS == b.MultipathAcrossAS, at("multipath_across_as")...)
	one, other := *a, *b
	for _, c := range []*BGPConfig{&one, &other} {
		c.Import, c.Export, c.Session, c.Neighbors, c.Drain = nil, nil, BGPSession{}, nil, 0
	}
	r.whole(since, reflect.DeepEqual(one, other), at()...)
}

// kernel compares which of the kernel's tables it is; what is exchanged may change.
func (r *restart) kernel(v *VRFConfig, a, b *KernelConfig) {
	at := func(key ...string) []string { return append(append(v.path(), "kernel"), key...) }
	one, other := *cmp.Or(a, new(KernelConfig)), *cmp.Or(b, new(KernelConfig))
	since := len(r.keys)
	r.unless(one.Table == other.Table, at("table")...)
	r.unless(one.Metric == other.Metric, at("metric")...)
	r.unless(one.Protocol == other.Protocol, at("protocol")...)
	for _, c := range []*KernelConfig{&one, &other} {
		c.Import, c.Export, c.Keep = nil, nil, false
	}
	r.whole(since, reflect.DeepEqual(one, other), at()...)
}

// pools sees that what was lent stays good: pools come and go and grow.
func (r *restart) pools(from, to *Config) {
	for i := range from.Pools {
		p := &from.Pools[i]
		at := slices.IndexFunc(to.Pools, func(o PoolConfig) bool { return o.Name == p.Name })
		if at < 0 {
			continue
		}
		r.unless(within(p.Addresses, to.Pools[at].Addresses), "pools", p.Name, "addresses")
	}
}

// within says whether some prefixes are all covered by others.
func within(some, all []netip.Prefix) bool {
	return !slices.ContainsFunc(some, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(all, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
	})
}
