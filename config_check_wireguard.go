package warren

import (
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

var (
	// endpointName is a name that a resolver may know.
	endpointName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
	// interfaceName is a name that wg(8) takes.
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9_=+.-]{1,15}$`)
)

// maxKeepalive is what wg(8) can say.
const maxKeepalive = 65535 * time.Second

// wireguard checks a key and a port.
func (k *checker) wireguard(path keyPath, w *WireGuardConfig) {
	if len(w.PrivateKey) == 0 {
		k.fail(path.to("private_key"), "private_key: KEY or private_key_file: PATH", "the private key is missing")
	} else if len(w.PrivateKey) != handshake.KeySize {
		k.fail(path.to("private_key"), wgKeySyntax, "the private key has %d bytes", len(w.PrivateKey))
	}
	if w.ListenPort != 0 {
		if w.ListenPort == k.cfg.Underlay.UDPPort || k.cfg.Underlay.UDPPort == 0 && w.ListenPort == DefaultUDPPort && k.hasIPsec() {
			k.fail(path.to("listen_port"), "a port of its own", "port %d is that of ESP in UDP", w.ListenPort)
		}
		if other := k.ports[w.ListenPort]; other != nil {
			k.fail(path.to("listen_port"), "a port of its own", "port %d is that of %v already", w.ListenPort, other)
		}
		k.ports[w.ListenPort] = path
	}
	if w.Interface != "" && (!interfaceName.MatchString(w.Interface) || w.Interface == "." || w.Interface == "..") {
		k.fail(path.to("interface"), "1 to 15 letters, digits and characters of _=+.-", "%q is no name of an interface", w.Interface)
	}
	if w.VRF != "" && !k.vrfs[w.VRF] {
		k.fail(path.to("vrf"), "a name among vrfs:", "there is no vrf %q", w.VRF)
	}
}

func (k *checker) hasIPsec() bool {
	return slices.ContainsFunc(k.cfg.Tunnels, func(t TunnelConfig) bool { return t.IPsec != nil })
}

// wireguardPeer checks a tunnel's peer.
func (k *checker) wireguardPeer(path keyPath, t *TunnelConfig) {
	w := t.WireGuard
	at := path.to("wireguard")
	device := k.cfg.WireGuard
	if w.Own != nil {
		k.wireguard(at, w.Own)
		device = w.Own
	} else if device == nil {
		k.fail(at, "wireguard: {private_key_file: PATH, listen_port: 51820} at the top", "there is no private key for it")
	}
	k.publicKey(at.to("public_key"), w.PublicKey, device)
	if n := len(w.PresharedKey); n != 0 && n != handshake.KeySize {
		k.fail(at.to("preshared_key"), wgKeySyntax, "the preshared key has %d bytes", n)
	}
	switch e := w.Endpoint; {
	case e.IsZero():
	case e.Addr.IsValid() == (e.Name != ""):
		k.fail(at.to("endpoint"), "an address or a name", "%q is neither or both", e)
	case e.Port == 0:
		k.fail(at.to("endpoint"), "a port", "%q has no port", e)
	case e.Addr.IsValid():
		k.endpoint(at.to("endpoint"), e.Addr)
	}
	if w.PersistentKeepalive < 0 || w.PersistentKeepalive > maxKeepalive || w.PersistentKeepalive%time.Second != 0 {
		k.fail(at.to("persistent_keepalive"), "whole seconds from 0 to 65535", "%v is none of them", w.PersistentKeepalive)
	}
	k.allowed(path.to("allowed_ips"), t)
	if t.SourceCheck < SourceAny || t.SourceCheck > SourceFeasible {
		k.fail(path.to("source_check"), "any or feasible", "%d is none", t.SourceCheck)
	}
}

// publicKey sees that a peer's key is one that no other peer of the device has, nor the device itself.
func (k *checker) publicKey(path keyPath, key handshake.PublicKey, device *WireGuardConfig) {
	if key == (handshake.PublicKey{}) {
		k.fail(path, "public_key: KEY", "the peer's public key is missing")
		return
	}
	if device == nil || len(device.PrivateKey) != handshake.KeySize {
		return
	}
	if own := handshake.PrivateKey(device.PrivateKey).Public(); own == key {
		k.fail(path, "the peer's", "the public key is our own")
	}
	of := peerOf{device, key}
	if other := k.peers[of]; other != nil {
		k.fail(path, "one tunnel for each peer, or a key and port of the tunnel's own", "the public key is that of %v already", other)
	}
	k.peers[of] = path
}

// peerOf is a peer of one device.
type peerOf struct {
	device *WireGuardConfig
	key    handshake.PublicKey
}

// endpoint sees that an address can be reached from an underlay address.
func (k *checker) endpoint(path keyPath, a netip.Addr) {
	k.addr(path, a)
	own := k.cfg.Underlay.Addresses
	switch {
	case a.IsUnspecified():
		k.fail(path, "the peer's address", "%v is no address of a host", a)
	case len(own) > 0 && !slices.ContainsFunc(own, func(o netip.Addr) bool { return o.Is4() == a.Is4() || !o.IsValid() }):
		k.fail(path, "an address of the same family among underlay.addresses", "%v cannot be reached from any of %v", a, own)
	}
}

// allowed checks what a peer may send. With wg's meaning a prefix belongs to one peer.
func (k *checker) allowed(path keyPath, t *TunnelConfig) {
	seen := map[netip.Prefix]bool{}
	for i, p := range t.AllowedIPs {
		at := path.index(i)
		if k.prefix(at, p) && seen[p] {
			k.fail(at, "", "%v is there twice", p)
		}
		seen[p] = true
		if !t.WireGuard.CryptokeyRouting {
			continue
		}
		of := allowedOf{t.WireGuard.Own, t.VRF, p}
		if t.WireGuard.Own == nil {
			of.device = k.cfg.WireGuard
		}
		if other := k.allowedBy[of]; other != nil {
			k.fail(at, "one of the two, or no cryptokey_routing", "%v is allowed to %v already", p, other)
		}
		k.allowedBy[of] = at
	}
	if t.WireGuard.CryptokeyRouting && t.AllowedIPs == nil {
		k.fail(path, "allowed_ips: [PREFIX, ...]", "cryptokey_routing wants them")
	}
}

// allowedOf is a prefix that one peer of a device has.
type allowedOf struct {
	device *WireGuardConfig
	vrf    string
	prefix netip.Prefix
}

// notWireGuard sees that a tunnel of another kind has none of WireGuard's keys.
func (k *checker) notWireGuard(path keyPath, t *TunnelConfig) {
	if t.AllowedIPs != nil {
		k.fail(path.to("allowed_ips"), "child: {remote_ts: [...]}", "an ESP tunnel's selectors say what the peer may send")
	}
	if t.SourceCheck != SourceAny {
		k.fail(path.to("source_check"), "child: {remote_ts: [...]}", "an ESP tunnel's selectors say what the peer may send")
	}
}

// orWireGuard is what a tunnel may be.
const orWireGuard = "ipsec: {remote: ADDRESS, ...} or wireguard: {public_key: KEY, ...}"

// kinds sees that a tunnel is of one kind.
func (k *checker) kinds(path keyPath, t *TunnelConfig) {
	switch {
	case t.IPsec != nil && t.WireGuard != nil:
		k.fail(path.to("wireguard"), "one of the two", "the tunnel is of two kinds")
	case t.WireGuard != nil:
		k.wireguardPeer(path, t)
	case t.IPsec == nil:
		k.fail(path.to("ipsec"), orWireGuard, "the tunnel is of no kind")
	default:
		k.notWireGuard(path, t)
		k.ipsec(path.to("ipsec"), t.IPsec)
	}
}
