package warren

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// WireGuardConfig is a private key and a UDP port for any number of peers.
type WireGuardConfig struct {
	// PrivateKey are 32 bytes.
	PrivateKey Secret
	// ListenPort is a UDP port; 0 for any.
	ListenPort uint16
	// Mark is the fwmark of sealed packets; 0 for the underlay's.
	Mark uint32
	// Interface is the name by which wg(8) finds the engine: there is a socket NAME.sock in its directory. Empty is the name of the
	// vrf's TUN device, if that has one and the socket can be made; NoInterface is none.
	Interface string
	// VRF is where peers that wg(8) adds belong; the only vrf there is, if empty.
	VRF string
}

// NoInterface as WireGuardConfig.Interface hides the engine from wg(8).
const NoInterface = "no"

// WireGuardPeerConfig is the peer of a WireGuard tunnel.
type WireGuardPeerConfig struct {
	PublicKey handshake.PublicKey
	// PresharedKey are 32 bytes, or none.
	PresharedKey Secret
	// Endpoint is where the peer is; not set where it will come by itself.
	Endpoint EndpointConfig
	// PersistentKeepalive is after how long a silence something is sent; 0 for never.
	PersistentKeepalive time.Duration
	// CryptokeyRouting gives TunnelConfig.AllowedIPs wg's meaning: they are the peer's routes too, and no other such peer's.
	CryptokeyRouting bool
	// Own is a key and a port of the tunnel's own; Config.WireGuard unless set.
	Own *WireGuardConfig
}

// EndpointConfig is an address or a name, and a port.
type EndpointConfig struct {
	Addr netip.Addr
	// Name is looked up when the engine starts, and again while the peer does not answer.
	Name string
	Port uint16
}

// IsZero says whether there is none.
func (e EndpointConfig) IsZero() bool { return e == EndpointConfig{} }

// String is the endpoint as wg(8) writes it.
func (e EndpointConfig) String() string {
	switch {
	case e.IsZero():
		return ""
	case e.Name != "":
		return net.JoinHostPort(e.Name, strconv.Itoa(int(e.Port)))
	}
	return netip.AddrPortFrom(e.Addr, e.Port).String()
}

// SourceCheck says which of the source addresses that AllowedIPs admits a peer may use.
type SourceCheck int

// SourceAny is no check. SourceFeasible accepts only what the route table would send to the peer, alone or among others
// (RFC 3704 section 2.3).
const (
	SourceAny SourceCheck = iota
	SourceFeasible
)

// DefaultWireGuardPort is the port of wg-quick's examples.
const DefaultWireGuardPort = 51820

// wireGuardKeys are what a configuration has of keys and ports, each that of one device.
func (c *Config) wireGuardKeys() (all []*WireGuardConfig) {
	if c.WireGuard != nil {
		all = append(all, c.WireGuard)
	}
	for i := range c.Tunnels {
		if w := c.Tunnels[i].WireGuard; w != nil && w.Own != nil {
			all = append(all, w.Own)
		}
	}
	return all
}
