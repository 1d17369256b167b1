package warren

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

var sourceChecks = map[string]SourceCheck{"any": SourceAny, "no": SourceAny, "feasible": SourceFeasible}

// wireguard reads the key and the port that peers share.
func (d *decoder) wireguard(n *node, path keyPath) *WireGuardConfig {
	w := new(WireGuardConfig)
	f := d.wireguardKeys(n, w)
	f["interface"], f["vrf"] = set(&w.Interface, d.text), set(&w.VRF, d.text)
	d.object(n, path, "wireguard", f)
	return w
}

// wireguardKeys are the keys of what may be shared, or a tunnel's own. n is where they stand.
func (d *decoder) wireguardKeys(n *node, w *WireGuardConfig) fields {
	return fields{
		"private_key":      set(&w.PrivateKey, d.wgKey),
		"private_key_file": func(at *node, path keyPath) { d.wgKeyFile(n, at, path, "private_key", &w.PrivateKey) },
		"listen_port":      set(&w.ListenPort, number[uint16](d, 0, 65535)),
		"mark":             set(&w.Mark, number[uint32](d, 0, 1<<32-1)),
	}
}

// wireguardPeer reads a tunnel's peer.
func (d *decoder) wireguardPeer(n *node, path keyPath) *WireGuardPeerConfig {
	w, own := new(WireGuardPeerConfig), new(WireGuardConfig)
	f := d.wireguardKeys(n, own)
	ownKeys := make([]string, 0, len(f))
	for key := range f {
		ownKeys = append(ownKeys, key)
	}
	f["public_key"] = set(&w.PublicKey, d.publicKey)
	f["preshared_key"] = set(&w.PresharedKey, d.wgKey)
	f["preshared_key_file"] = func(at *node, path keyPath) { d.wgKeyFile(n, at, path, "preshared_key", &w.PresharedKey) }
	f["endpoint"] = set(&w.Endpoint, d.endpoint)
	f["persistent_keepalive"] = set(&w.PersistentKeepalive, d.duration)
	f["cryptokey_routing"] = set(&w.CryptokeyRouting, d.boolean)
	d.object(n, path, "tunnels.*.wireguard", f)
	if n.kind != mapping {
		return w
	}
	for _, key := range ownKeys {
		if n.entry(key) != nil {
			w.Own = own
		}
	}
	return w
}

const wgKeySyntax = "32 bytes in base64, as `warren genkey` or wg(8) makes them"

// wgKey reads a private or preshared key. What is wrong with it is said without showing it.
func (d *decoder) wgKey(n *node, path keyPath) (Secret, bool) {
	if n.kind != scalar {
		d.fail(n, path, wgKeySyntax, "%s", describe(n))
		return nil, false
	}
	key, err := handshake.ParseKey(n.text)
	if err != nil {
		d.fail(n, path, wgKeySyntax, "this is no WireGuard key")
		return nil, false
	}
	d.inFile(n, path)
	return key[:], true
}

// wgKeyFile reads such a key from a file of its own.
func (d *decoder) wgKeyFile(around, at *node, path keyPath, instead string, into *Secret) {
	secret := path[:len(path)-1].to(instead)
	if around.entry(instead) != nil {
		d.fail(at, path, "one of the two", "%s and %s are both there", instead, path[len(path)-1])
		return
	}
	d.broken[secret.id()] = true
	name, ok := d.file(at, path)
	if !ok {
		return
	}
	data, err := d.readSecret(at, path, name)
	if err != nil {
		d.fail(at, path, "", "read the key: %v", err)
		return
	}
	key, err := handshake.ParseKey(strings.TrimSpace(string(data)))
	if err != nil {
		d.fail(at, path, wgKeySyntax, "in %s: this is no WireGuard key", name)
		return
	}
	*into = key[:]
	delete(d.broken, secret.id())
	d.places[secret.id()] = at
}

func (d *decoder) publicKey(n *node, path keyPath) (k handshake.PublicKey, ok bool) {
	s, ok := d.text(n, path)
	if !ok {
		return k, false
	}
	key, err := handshake.ParseKey(s)
	if err != nil {
		d.fail(n, path, wgKeySyntax, "this is no WireGuard key")
		return k, false
	}
	return handshake.PublicKey(key), true
}

// endpoint reads an address or a name, with a port.
func (d *decoder) endpoint(n *node, path keyPath) (EndpointConfig, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return EndpointConfig{}, false
	}
	e, err := parseEndpoint(s)
	if err != nil {
		d.fail(n, path, "address or name, and port: 192.0.2.1:51820, [2001:db8::1]:51820, gw.example:51820", "%q: %v", s, err)
	}
	return e, err == nil
}

func parseEndpoint(s string) (e EndpointConfig, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return e, errors.New("no host and port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return e, errors.New("the port is none from 1 to 65535")
	}
	e.Port = uint16(number)
	if a, err := netip.ParseAddr(host); err == nil {
		e.Addr = a.Unmap()
		return e, nil
	}
	if !endpointName.MatchString(host) {
		return e, errors.New("the host is neither an address nor a name")
	}
	e.Name = host
	return e, nil
}
