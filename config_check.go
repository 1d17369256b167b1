package warren

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/warrenvpn/warren/dataplane"
)

// Validate returns all mistakes of a configuration, as ConfigErrors. It changes nothing.
func (c *Config) Validate() error { return c.check().err() }

// err returns the mistakes as ConfigErrors, nil if there are none.
func (k *checker) err() error {
	var errs ConfigErrors
	for _, i := range k.mistakes {
		errs = append(errs, &ConfigError{Key: i.path.String(), Problem: mask(i.problem), Want: i.want})
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// issue is a mistake, or something that one should know, in a configuration that may be from no file.
type issue struct {
	path          keyPath
	problem, want string
}

// checker looks at a whole configuration.
type checker struct {
	cfg                *Config
	mistakes, warnings []issue
	vrfs               map[string]bool
	devices            map[string]keyPath
	// spis, states and keys say where what must not be twice is.
	spis   map[uint32]keyPath
	states map[string]keyPath
	keys   map[string]keyPath
	// ports are WireGuard's, peers and allowedBy what is a peer's alone.
	ports     map[uint16]keyPath
	peers     map[peerOf]keyPath
	allowedBy map[allowedOf]keyPath
}

func (c *Config) check() *checker {
	k := &checker{cfg: c, vrfs: map[string]bool{}, devices: map[string]keyPath{}, spis: map[uint32]keyPath{},
		states: map[string]keyPath{}, keys: map[string]keyPath{}, ports: map[uint16]keyPath{}, peers: map[peerOf]keyPath{},
		allowedBy: map[allowedOf]keyPath{}}
	k.between(keyPath{"workers"}, c.Workers, 0, dataplane.MaxWorkers)
	if _, ok := logLevels[strings.ToLower(c.Log.Level)]; c.Log.Level != "" && !ok {
		k.fail(keyPath{"log", "level"}, "debug, info, warn or error", "%q is not known here", c.Log.Level)
	}
	if len(c.VRFs)+len(c.Tunnels) == 0 {
		k.warn(keyPath{}, "there is neither a vrf nor a tunnel, and so nothing to do")
	}
	if n := len(c.Control.Socket); n > maxSocket {
		k.fail(keyPath{"control", "socket"}, fmt.Sprintf("at most %d", maxSocket), "the path has %d bytes", n)
	}
	if c.KeyExport != "" {
		k.warn(keyPath{"key_export"}, "session keys are written to %s: who reads them can decrypt the traffic", c.KeyExport)
	}
	k.underlay()
	k.ikeEngine()
	k.pools()
	for i := range c.VRFs {
		v := &c.VRFs[i]
		path := keyPath{"vrfs", v.Name}
		k.name(path, "vrf", v.Name, k.vrfs)
		k.vrf(path, v)
	}
	if c.WireGuard != nil {
		k.wireguard(keyPath{"wireguard"}, c.WireGuard)
	}
	tunnels := map[string]bool{}
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		path := keyPath{"tunnels", t.Name}
		k.name(path, "tunnel", t.Name, tunnels)
		k.tunnel(path, t)
	}
	k.forwards()
	return k
}

// fail notes a mistake.
func (k *checker) fail(path keyPath, want, format string, args ...any) {
	k.mistakes = append(k.mistakes, issue{path, fmt.Sprintf(format, args...), want})
}

func (k *checker) warn(path keyPath, format string, args ...any) {
	k.warnings = append(k.warnings, issue{path: path, problem: fmt.Sprintf(format, args...)})
}

func (k *checker) between(path keyPath, v, lo, hi int) {
	if v < lo || v > hi {
		k.fail(path, fmt.Sprintf("a number from %d to %d", lo, hi), "%d is out of range", v)
	}
}

// name sees that there is a name and that nobody else has it.
func (k *checker) name(path keyPath, kind, name string, taken map[string]bool) {
	switch {
	case strings.TrimSpace(name) == "":
		k.fail(path, "a name", "the %s has no name", kind)
	case taken[name]:
		k.fail(path, "a name of its own", "there is another %s of the name %q", kind, name)
	}
	taken[name] = true
}

// maxDevice is the longest name of a network device in bytes.
const maxDevice = 15

// device sees that the kernel would take a name.
func (k *checker) device(path keyPath, name string) {
	switch {
	case len(name) > maxDevice:
		k.fail(path, fmt.Sprintf("at most %d bytes", maxDevice), "device name %q has %d bytes", name, len(name))
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\r\n\v\f\x00"):
		k.fail(path, "a name such as warren0", "device name %q has characters that no device has", name)
	}
}

func (k *checker) netns(path keyPath, name string) {
	if strings.ContainsRune(name, 0) || name == "." || name == ".." {
		k.fail(path, "a name as in /run/netns, or a path", "%q is no network namespace", name)
	}
}

// addr sees that an address is one that can be sent to or from.
func (k *checker) addr(path keyPath, a netip.Addr) {
	switch {
	case !a.IsValid():
		k.fail(path, "an IPv4 or IPv6 address", "the address is empty")
	case a.Zone() != "":
		k.fail(path, "the address without it, and underlay.device", "%v has a zone", a)
	case a.Is4In6():
		k.fail(path, a.Unmap().String(), "%v is an IPv4 address in IPv6 clothes", a)
	case a.IsMulticast():
		k.fail(path, "a unicast address", "%v is a multicast address", a)
	}
}

func (k *checker) underlay() {
	u := &k.cfg.Underlay
	path := keyPath{"underlay"}
	seen := map[netip.Addr]bool{}
	for i, a := range u.Addresses {
		at := path.to("addresses").index(i)
		k.addr(at, a)
		if seen[a] {
			k.fail(at, "", "%v is there twice", a)
		}
		seen[a] = true
	}
	k.device(path.to("device"), u.Device)
	k.netns(path.to("netns"), u.NetNS)
}

func (k *checker) port(path keyPath, p *PortConfig) {
	if p.TUN != nil && p.Netstack != nil {
		k.fail(path, "either tun and its keys, or netstack", "a port is of one kind")
		return
	}
	if t := p.TUN; t != nil {
		k.tun(path, t)
	}
	if s := p.Netstack; s != nil {
		path = path.to("netstack")
		if len(s.Addresses) == 0 {
			k.fail(path.to("addresses"), "addresses: [PREFIX, ...]", "the stack has no address")
		}
		k.addresses(path.to("addresses"), s.Addresses)
		k.mtu(path.to("mtu"), s.MTU, s.Addresses)
		k.prefixes(path.to("routes"), s.Routes)
	}
}

func (k *checker) tun(path keyPath, t *TUNConfig) {
	at := path.to("tun")
	if t.Name == "" {
		k.fail(at, "tun: NAME", "the TUN device has no name")
	} else {
		k.device(at, t.Name)
		id := t.NetNS + "\x00" + t.Name
		if other := k.devices[id]; other != nil && !strings.Contains(t.Name, "%d") {
			k.fail(at, "a name of its own", "device %q is that of %v already", t.Name, other)
		}
		k.devices[id] = path
	}
	k.netns(path.to("netns"), t.NetNS)
	k.between(path.to("queues"), t.Queues, 0, dataplane.MaxWorkers)
	k.addresses(path.to("addresses"), t.Addresses)
	k.mtu(path.to("mtu"), t.MTU, t.Addresses)
	k.prefixes(path.to("routes"), t.Routes)
}

// addresses sees that prefixes are addresses with the length of their network.
func (k *checker) addresses(path keyPath, ps []netip.Prefix) {
	seen := map[netip.Addr]bool{}
	for i, p := range ps {
		at := path.index(i)
		switch a := p.Addr(); {
		case !p.IsValid():
			k.fail(at, "address and length, as 10.0.0.1/24", "the address is empty")
		case a.IsUnspecified():
			k.fail(at, "an address", "%v is no address of a host", p)
		case seen[a]:
			k.fail(at, "", "%v is there twice", a)
		default:
			k.addr(at, a)
			seen[a] = true
		}
	}
}

// prefix sees that a prefix is a network.
func (k *checker) prefix(path keyPath, p netip.Prefix) bool {
	switch {
	case !p.IsValid():
		k.fail(path, "a prefix such as 10.0.0.0/8", "the prefix is empty")
	case p.Addr().Is4In6():
		k.fail(path, "an IPv4 prefix", "%v is IPv4 in IPv6 clothes", p)
	case p != p.Masked():
		k.fail(path, p.Masked().String(), "%v has host bits set", p)
	default:
		return true
	}
	return false
}

func (k *checker) prefixes(path keyPath, ps []netip.Prefix) {
	seen := map[netip.Prefix]bool{}
	for i, p := range ps {
		at := path.index(i)
		if k.prefix(at, p) && seen[p] {
			k.fail(at, "", "%v is there twice", p)
		}
		seen[p] = true
	}
}

// mtu sees that IPv6, where there are addresses of it, has what it needs. 0 is none.
func (k *checker) mtu(path keyPath, mtu int, addrs []netip.Prefix) {
	least, why := minMTU4, ""
	for _, p := range addrs {
		if p.Addr().Is6() {
			least, why = minMTU6, ", for IPv6"
		}
	}
	if mtu != 0 && (mtu < least || mtu > maxMTU) {
		k.fail(path, fmt.Sprintf("from %d to %d bytes%s", least, maxMTU, why), "an MTU of %d bytes is out of range", mtu)
	}
}
