package warren

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Config says what an engine is to be. It comes from a YAML file by LoadConfig or ParseConfig, or is made in Go and
// checked by Validate; New does that too. Zero values mean the defaults that the fields name. Paths of files in a YAML
// file are relative to it.
type Config struct {
	// Underlay is where sealed packets leave from and arrive at.
	Underlay UnderlayConfig
	// VRFs are the routing domains, each with a port for clear packets.
	VRFs []VRFConfig
	// Tunnels in the order of the files.
	Tunnels []TunnelConfig
	// WireGuard is the key and the port that WireGuard's peers share; nil for none.
	WireGuard *WireGuardConfig
	// IKE is how key exchange behaves with all peers.
	IKE IKEEngineConfig
	// Pools are addresses for clients.
	Pools []PoolConfig
	// Forwards join sockets of the host with what lies behind the tunnels.
	Forwards []ForwardConfig
	// KeyExport is a directory into which session keys are written for Wireshark, as the decryption tables of one of its profiles and
	// as a key log of WireGuard. Empty for no such thing.
	KeyExport string
	// Workers is how many receive queues, and so workers, each port and each underlay gets; 0 for half as many as the
	// process may use processors, 8 at the most.
	Workers int
	Log     LogConfig
	Control ControlConfig
	// Warnings are what the reader of a valid configuration should know about it.
	Warnings []ConfigWarning
}

// LogConfig of the daemon.
type LogConfig struct {
	// Level is debug, info, warn or error; info if empty.
	Level string
}

// ControlConfig of the daemon.
type ControlConfig struct {
	// Socket is the control socket's path; DefaultSocket() if empty.
	Socket string
}

// UnderlayConfig says where sealed packets leave from.
type UnderlayConfig struct {
	// Addresses are the host's own that peers know. If there are none, the system chooses by its routes.
	Addresses []netip.Addr
	// UDPPort for ESP in UDP; 0 for 4500 (RFC 3948).
	UDPPort uint16
	// IKEPort for key exchange; 0 for 500. With NoIKEPort, or where it cannot be bound, all begins on UDPPort.
	IKEPort int
	// Device that sealed packets are bound to, Mark their fwmark (0 for none), NetNS the network namespace that the
	// sockets are born in ("" for the process's own).
	Device string
	Mark   uint32
	NetNS  string
}

// NoIKEPort as UnderlayConfig.IKEPort: key exchange begins on UDPPort, where ESP in UDP is.
const NoIKEPort = -1

// VRFConfig is one routing domain.
type VRFConfig struct {
	Name string
	Port PortConfig
	// BGP makes the vrf a speaker; nil for none.
	BGP *BGPConfig
	// Kernel exchanges routes with the kernel in the port's namespace; nil for none.
	Kernel *KernelConfig
	// Protect are prefixes that stand in the kernel as unreachable, at the worst metric, while they are configured, beside
	// those that lead into tunnels by configuration.
	Protect []netip.Prefix

	// ofTunnel says that a tunnel's port made the vrf.
	ofTunnel bool
}

// PortConfig says where clear packets enter and leave. At most one is set; neither makes a vrf that only joins tunnels.
type PortConfig struct {
	TUN      *TUNConfig
	Netstack *NetstackConfig
}

// TUNConfig is a TUN device.
type TUNConfig struct {
	// Name of the device, 15 bytes at the most.
	Name string
	// NetNS is the network namespace that it is born in; "" for the process's own.
	NetNS string
	// MTU in bytes; 0 for the least inner MTU of the vrf's tunnels.
	MTU int
	// Addresses are those that the kernel gives the device; their networks are routed to it. On a tunnel's own port the rest of each
	// network lies at the tunnel's other end.
	Addresses []netip.Prefix
	// Queues is how many workers read from it; 0 for Config.Workers.
	Queues int
	// Routes are more networks behind the device.
	Routes []netip.Prefix
}

// NetstackConfig is a TCP/IP stack inside the process.
type NetstackConfig struct {
	// Addresses are the stack's own.
	Addresses []netip.Prefix
	// MTU in bytes; 0 for the least inner MTU of the vrf's tunnels.
	MTU int
	// Forwarding lets the stack route packets for others.
	Forwarding bool
	// Routes are more networks behind the stack.
	Routes []netip.Prefix
}

// TunnelConfig is one tunnel.
type TunnelConfig struct {
	Name string
	// VRF is the routing domain that its clear packets belong to; the only one there is, if empty.
	VRF string
	// IPsec makes it an ESP tunnel, WireGuard one of that kind: one of the two.
	IPsec     *IPsecConfig
	WireGuard *WireGuardPeerConfig
	// AllowedIPs are the source addresses that a WireGuard peer may use: all if nil, none if empty. They route nothing but with
	// CryptokeyRouting.
	AllowedIPs []netip.Prefix
	// SourceCheck is a further check of what comes from a WireGuard peer.
	SourceCheck SourceCheck
	// Routes lead into the tunnel.
	Routes []RouteConfig
	// Addresses are our ends of point-to-point pairs with the peer.
	Addresses []netip.Prefix
	// BGP is the neighbour behind the tunnel; nil for none.
	BGP *NeighborConfig
	// MTU is the largest clear packet in bytes; 0 for what fits the path.
	MTU int
	// MSSClamp lowers the MSS of TCP connections: 0 not, MSSClampAuto to what fits the tunnel, else to what fits packets of
	// so many bytes.
	MSSClamp int
	// Port is the tunnel's own: it makes a vrf of the tunnel's name, with this port, that belongs to the tunnel alone. Unless
	// there are Routes, everything that comes out of the port goes into the tunnel. A parsed configuration has such vrfs
	// among its VRFs already.
	Port *PortConfig
}

// MSSClampAuto clamps to what fits the tunnel.
const MSSClampAuto = -1

// RouteConfig is a route into a tunnel.
type RouteConfig struct {
	Prefix netip.Prefix
	// Weight is the share of flows where several tunnels have the prefix, 1000 at the most; 0 for 1.
	Weight int
}

// Encap says what carries ESP.
type Encap int

// What carries ESP.
const (
	// EncapAuto is UDP: without IKE nobody can find out whether there is a NAT, and UDP is the faster way.
	EncapAuto   Encap = iota
	EncapAlways       // UDP (RFC 3948)
	EncapNever        // IP protocol 50
)

// DFPolicy says what becomes of the outer IPv4 header's don't-fragment bit.
type DFPolicy int

// Treatments of DF (RFC 4301 section 8.1).
const (
	DFCopy DFPolicy = iota
	DFSet
	DFClear
)

// Defaults of IPsecConfig.
const (
	DefaultUDPPort      = 4500
	DefaultIKEPort      = 500
	DefaultReplayWindow = 1024
	DefaultKeepalive    = 20 * time.Second
)

// IPsecConfig is an ESP tunnel's.
type IPsecConfig struct {
	// Remote is the peer's address. RemotePort is its port: with keys given by hand that of ESP in UDP, 4500 unless set; with IKE the
	// one to begin with, 500 unless set. RemoteAny, without Remote, takes any peer with the right identity, by IKE.
	Remote     netip.Addr
	RemoteAny  bool
	RemotePort uint16
	// Local chooses one of the underlay's addresses; the first of the peer's family if it is not set.
	Local netip.Addr
	Encap Encap
	DF    DFPolicy
	// ReplayWindow in packets, 0 for none, 8192 at the most. A parsed configuration has DefaultReplayWindow unless it says
	// otherwise.
	ReplayWindow int
	// Keepalive is how long the path may be silent before a NAT keepalive is sent (RFC 3948 section 2.3); 0 for never. A
	// parsed configuration has DefaultKeepalive unless it says otherwise.
	Keepalive time.Duration
	// Child are the traffic selectors; everything unless it says otherwise.
	Child ChildConfig
	// Static are keys given by hand, IKE says how the keys are negotiated: one of the two. With IKE, Child is nothing.
	Static *StaticConfig
	IKE    *IKEConfig
}

// ChildConfig are a child SA's traffic selectors. None means everything of both families.
type ChildConfig struct {
	LocalTS, RemoteTS []SelectorConfig
}

// SelectorConfig is one traffic selector: a network, and within it one protocol (0 for any) and ports (0 and 0 for any).
type SelectorConfig struct {
	Prefix           netip.Prefix
	Proto            uint8
	FromPort, ToPort uint16
}

// StaticConfig keys a tunnel by hand, as `ip xfrm state` would take it.
type StaticConfig struct {
	// Suite in strongSwan's words: aes128gcm16, aes256-sha256.
	Suite string
	ESN   bool
	// StateFile remembers where an AEAD's IVs left off.
	StateFile string
	Out, In   SAConfig
}

// SAConfig is one direction.
type SAConfig struct {
	SPI uint32
	// Key is the encryption key, and behind it the salt of an AEAD or the integrity key of the others.
	Key Secret
}

// DefaultIPsec is what a tunnel's ipsec is, unless the configuration says otherwise.
func DefaultIPsec() IPsecConfig {
	return IPsecConfig{ReplayWindow: DefaultReplayWindow, Keepalive: DefaultKeepalive}
}

// withDefaults returns a copy in which everything is filled in that follows from the rest. It shares what it leaves as it
// is with the original, which stays as it was.
func (c *Config) withDefaults() *Config {
	full := *c
	full.Warnings = slices.Clone(c.Warnings)
	full.VRFs = slices.Clone(c.VRFs)
	full.Tunnels = slices.Clone(c.Tunnels)
	full.Forwards = forwardDefaults(c.Forwards)
	if full.Underlay.UDPPort == 0 {
		full.Underlay.UDPPort = DefaultUDPPort
	}
	for i := range full.Tunnels {
		t := &full.Tunnels[i]
		if t.IPsec != nil && t.IPsec.Static != nil && t.IPsec.RemotePort == 0 {
			p := *t.IPsec
			p.RemotePort = DefaultUDPPort
			t.IPsec = &p
		}
		if t.Port == nil {
			if t.VRF == "" && len(c.VRFs) == 1 {
				t.VRF = c.VRFs[0].Name
			}
		} else if t.VRF == "" {
			full.VRFs = append(full.VRFs, VRFConfig{Name: t.Name, Port: *t.Port, ofTunnel: true})
			t.VRF, t.Port = t.Name, nil
			if len(t.Routes) == 0 {
				t.Routes = []RouteConfig{{Prefix: everything[0]}, {Prefix: everything[1]}}
			}
		}
		t.Routes = slices.Clone(t.Routes)
		for i := range t.Routes {
			t.Routes[i].Weight = max(1, t.Routes[i].Weight)
		}
	}
	return &full
}

// LogLevel returns the level to log at.
func (c *Config) LogLevel() slog.Level {
	var l slog.Level
	if c.Log.Level == "" || l.UnmarshalText([]byte(c.Log.Level)) != nil {
		return slog.LevelInfo
	}
	return l
}

// ControlSocket returns the control socket's path.
func (c *Config) ControlSocket() string {
	if c.Control.Socket == "" {
		return DefaultSocket()
	}
	return c.Control.Socket
}
