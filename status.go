package warren

import (
	"net/netip"
	"time"
)

// Status is what an engine tells of itself at one moment. All counters only ever grow while the engine runs. There are no
// secrets in it.
type Status struct {
	// State is "running", or "stopped" where Run has not been called or has returned.
	State   string        `json:"state"`
	Started time.Time     `json:"started,omitzero"`
	Uptime  time.Duration `json:"uptime_ns"`
	// Underlays are the sockets that carry sealed packets.
	Underlays []UnderlayStatus `json:"underlays"`
	VRFs      []VRFStatus      `json:"vrfs"`
	Tunnels   []TunnelStatus   `json:"tunnels"`
	Forwards  []ForwardStatus  `json:"forwards"`
	// Neighbors are those of BGP.
	Neighbors []NeighborStatus `json:"neighbors"`
	// Workers tell what each of them dropped; Drops is their sum by reason.
	Workers []WorkerStatus    `json:"workers"`
	Drops   map[string]uint64 `json:"drops"`
}

// UnderlayStatus tells of one underlay.
type UnderlayStatus struct {
	Name  string         `json:"name"`
	Local netip.AddrPort `json:"local"`
}

// VRFStatus tells of one routing domain.
type VRFStatus struct {
	Name   string     `json:"name"`
	Port   PortStatus `json:"port"`
	Routes int        `json:"routes"`
}

// PortStatus tells of a vrf's port.
type PortStatus struct {
	// Kind is "tun" or "netstack".
	Kind      string         `json:"kind"`
	Name      string         `json:"name"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses"`
}

// TunnelStatus tells of one tunnel.
type TunnelStatus struct {
	Name string `json:"name"`
	VRF  string `json:"vrf"`
	// Kind is "ipsec" or "wireguard".
	Kind string `json:"kind"`
	// State is "up" when there is something to seal with, "down" otherwise; of WireGuard "idle" when nobody wants a session.
	State    string         `json:"state"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
	Encap    string         `json:"encap"`
	InnerMTU int            `json:"inner_mtu"`
	// Clear packets and their bytes.
	OutPackets uint64            `json:"out_packets"`
	OutBytes   uint64            `json:"out_bytes"`
	InPackets  uint64            `json:"in_packets"`
	InBytes    uint64            `json:"in_bytes"`
	Drops      map[string]uint64 `json:"drops"`
	Children   []ChildStatus     `json:"children"`
	// IKE are the IKE SAs with the peer, none where keys are given by hand. Client is who the peer is, where it came by itself.
	IKE    []IKEStatus `json:"ike,omitzero"`
	Client string      `json:"client,omitzero"`
	// WireGuard is there for a tunnel of that kind.
	WireGuard *WireGuardStatus `json:"wireguard,omitzero"`
	// Troubles are the reasons why nothing is routed into the tunnel.
	Troubles []string `json:"troubles,omitzero"`
	// LastError is why the last IKE SA with the peer, or the last attempt at one, has ended; "" while one is up.
	LastError string `json:"last_error,omitzero"`
}

// WireGuardStatus tells of a peer.
type WireGuardStatus struct {
	PublicKey string `json:"public_key"`
	// Device is the public key that we have for it, ListenPort our port.
	Device     string `json:"device"`
	ListenPort uint16 `json:"listen_port"`
	// Endpoint is where the peer is, as an address, or where that is not known yet, as configured.
	Endpoint            string         `json:"endpoint,omitzero"`
	AllowedIPs          []netip.Prefix `json:"allowed_ips,omitzero"`
	PresharedKey        bool           `json:"preshared_key"`
	PersistentKeepalive time.Duration  `json:"persistent_keepalive_ns,omitzero"`
	LastHandshake       time.Time      `json:"last_handshake,omitzero"`
	// Bytes of messages, sealed.
	SentBytes     uint64 `json:"sent_bytes"`
	ReceivedBytes uint64 `json:"received_bytes"`
	// Waiting packets are kept for a session.
	Waiting uint64 `json:"waiting,omitzero"`
}

// IKEStatus tells of one IKE SA.
type IKEStatus struct {
	// State is as swanctl(8) names it: CONNECTING, ESTABLISHED, REKEYED, DELETING.
	State        string         `json:"state"`
	SPIInitiator string         `json:"spi_initiator"`
	SPIResponder string         `json:"spi_responder"`
	Initiator    bool           `json:"initiator"`
	Suite        string         `json:"suite"`
	LocalID      string         `json:"local_id"`
	RemoteID     string         `json:"remote_id"`
	Local        netip.AddrPort `json:"local"`
	Remote       netip.AddrPort `json:"remote"`
	// Since is when the peer was authenticated or the keys were made, Heard when it last proved to be alive. Rekey and Reauth are when
	// these are due, zero for never.
	Since  time.Time `json:"since,omitzero"`
	Heard  time.Time `json:"heard,omitzero"`
	Rekey  time.Time `json:"rekey,omitzero"`
	Reauth time.Time `json:"reauth,omitzero"`
	// Leased are the addresses that were given to the peer.
	Leased []netip.Addr `json:"leased,omitzero"`
}

// ChildStatus tells of one child SA, both ways.
type ChildStatus struct {
	Name string `json:"name"`
	// State is as swanctl(8) names it: INSTALLED, REKEYED, DELETED while late packets may arrive. Keys given by hand are INSTALLED.
	State    string   `json:"state"`
	Suite    string   `json:"suite"`
	ESN      bool     `json:"esn"`
	SPIOut   string   `json:"spi_out"`
	SPIIn    string   `json:"spi_in"`
	LocalTS  []string `json:"local_ts"`
	RemoteTS []string `json:"remote_ts"`
	// Sent is how many sequence numbers have been used, Received the highest one that has arrived.
	Sent         uint64 `json:"sent"`
	Received     uint64 `json:"received"`
	ReplayWindow int    `json:"replay_window"`
	// Clear packets and their bytes.
	OutPackets uint64 `json:"out_packets"`
	OutBytes   uint64 `json:"out_bytes"`
	InPackets  uint64 `json:"in_packets"`
	InBytes    uint64 `json:"in_bytes"`
	// Since is when it was negotiated, Rekey when that is due again, Expires when it ends at the latest; zero for never.
	Since   time.Time `json:"since,omitzero"`
	Rekey   time.Time `json:"rekey,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// WorkerStatus tells what one worker dropped, by reason.
type WorkerStatus struct {
	Name  string            `json:"name"`
	Drops map[string]uint64 `json:"drops"`
}

// RouteStatus tells of one prefix: where it leads, and what was offered for it.
type RouteStatus struct {
	VRF    string       `json:"vrf"`
	Prefix netip.Prefix `json:"prefix"`
	// Hops are what forwards; none where all paths are down.
	Hops []HopStatus `json:"hops"`
	// Paths are all that was offered, best first.
	Paths []PathStatus `json:"paths"`
}

// PathStatus tells of what one source offers for a prefix.
type PathStatus struct {
	// Source is connected, static, ipsec, bgp or kernel; From the tunnel, port or neighbour that offers it.
	Source string `json:"source"`
	From   string `json:"from"`
	Via    string `json:"via"`
	// Used says that the path forwards, alone or with others; Why, why it does or does not.
	Used       bool   `json:"used"`
	Why        string `json:"why"`
	Preference uint32 `json:"preference"`
	Metric     uint32 `json:"metric,omitzero"`
	Stale      bool   `json:"stale,omitzero"`
	// Device is a kernel route's.
	Device string `json:"device,omitzero"`
	// What BGP carries.
	ASPath      string     `json:"as_path,omitzero"`
	NextHop     netip.Addr `json:"next_hop,omitzero"`
	MED         uint32     `json:"med,omitzero"`
	LocalPref   uint32     `json:"local_pref,omitzero"`
	Communities []string   `json:"communities,omitzero"`
}

// HopStatus tells of one of a route's next hops.
type HopStatus struct {
	// Via is a tunnel's or a port's name, or "unreachable".
	Via    string `json:"via"`
	Kind   string `json:"kind"`
	Weight uint32 `json:"weight"`
}

// NeighborStatus tells of one BGP neighbour.
type NeighborStatus struct {
	VRF        string     `json:"vrf"`
	Name       string     `json:"name"`
	Address    netip.Addr `json:"address"`
	NeighborAS uint32     `json:"neighbor_as"`
	LocalAS    uint32     `json:"local_as"`
	// State is RFC 4271's, Since when it was entered.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Via is the tunnel or port that leads there.
	Via string `json:"via"`
	// PrefixesIn are those that the neighbour announces, Used those of them that forward, PrefixesOut those announced to it.
	PrefixesIn  int `json:"prefixes_in"`
	Used        int `json:"used"`
	PrefixesOut int `json:"prefixes_out"`
	// HoldTime is the negotiated one, 0 without a session.
	HoldTime time.Duration `json:"hold_time_ns"`
	// LastError is why a session or an attempt ended last.
	LastError   string    `json:"last_error,omitzero"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// BFD is the state of the way there, "" where it is not watched.
	BFD string `json:"bfd,omitzero"`
}

// Explanation is the way that a packet takes in one vrf.
type Explanation struct {
	VRF string `json:"vrf"`
	// Prefix is the route that decides, the zero prefix where there is none, and Paths are what was offered for it.
	Prefix netip.Prefix `json:"prefix,omitzero"`
	Paths  []PathStatus `json:"paths,omitzero"`
	// Member is the hop that the flow takes, of as many as Members; ports spread flows further.
	Member  HopStatus `json:"member,omitzero"`
	Members int       `json:"members,omitzero"`
	// Child is the child SA that seals the packet, or with no Suite will when it is negotiated, and Peer where it is sent.
	Child string         `json:"child,omitzero"`
	Suite string         `json:"suite,omitzero"`
	Peer  netip.AddrPort `json:"peer,omitzero"`
	MTU   int            `json:"mtu,omitzero"`
	// Drop is the reason why the packet goes no further, "" if it does; Why says it in words, or what the packet waits for.
	Drop string `json:"drop,omitzero"`
	Why  string `json:"why,omitzero"`
}
