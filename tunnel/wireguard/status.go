package wireguard

import (
	"net/netip"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// State is what is known of a peer.
type State uint8

// The states.
const (
	Idle State = iota // no session, and none was asked for in vain
	Up                // there is a session
	Down              // no answer for handshake.RekeyAttemptTime, and none since
)

// String returns the state for people.
func (s State) String() string {
	return [...]string{"idle", "up", "down"}[min(s, Down)]
}

// event is a state to be told.
type event struct {
	tell  func(State)
	state State
}

// set changes the state. The caller holds Device.mu.
func (p *Peer) set(s State) {
	if p.state == s {
		return
	}
	p.state = s
	p.log.Info("peer is "+s.String(), "endpoint", p.endpointNow())
	if p.onState != nil {
		p.device.events = append(p.device.events, event{p.onState, s})
	}
}

func (p *Peer) endpointNow() netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.endpoint
}

// PeerStatus is a snapshot of a peer.
type PeerStatus struct {
	Name                string
	PublicKey           handshake.PublicKey
	PresharedKey        handshake.PresharedKey
	Endpoint            netip.AddrPort // zero where it is not known
	AllowedIPs          []netip.Prefix // nil where all are allowed
	PersistentKeepalive time.Duration
	State               State
	// LastHandshake is when one was last completed; zero is never.
	LastHandshake time.Time
	// SentBytes and ReceivedBytes are of messages, handshakes and keepalives included, without outer headers.
	SentBytes, ReceivedBytes uint64
	// Waiting packets are kept for a session. KeptSent of KeptBytes were sent after they had waited, and are not in the data
	// plane's count; Lost were given up with the handshake or with the peer.
	Waiting, KeptSent, KeptBytes, Lost uint64
}

// Status returns a snapshot.
func (p *Peer) Status() PeerStatus {
	p.device.mu.Lock()
	defer p.device.mu.Unlock()
	return p.status()
}

func (p *Peer) status() PeerStatus {
	s := PeerStatus{Name: p.name, PublicKey: p.hs.PublicKey(), PresharedKey: p.hs.PresharedKey(), Endpoint: p.endpointNow(),
		AllowedIPs: slices.Clone(p.allowed), PersistentKeepalive: p.hs.PersistentKeepalive(), State: p.state,
		LastHandshake: p.hs.Established(), SentBytes: p.sent, ReceivedBytes: p.received,
		KeptSent: p.keptSent, KeptBytes: p.keptBytes, Lost: p.lost}
	for _, k := range p.sessions {
		if k != nil {
			s.SentBytes += k.sent.Load()
			s.ReceivedBytes += k.receivedBytes()
		}
	}
	p.waiting.mu.Lock()
	s.Waiting = uint64(len(p.waiting.queue))
	p.waiting.mu.Unlock()
	return s
}

func (k *keypair) receivedBytes() uint64 {
	k.in.mu.Lock()
	defer k.in.mu.Unlock()
	return k.in.received
}

// Status returns a snapshot of all peers, in no order.
func (d *Device) Status() []PeerStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]PeerStatus, 0, len(d.all))
	for p := range d.all {
		all = append(all, p.status())
	}
	return all
}

// HandshakeDrops returns how many handshake messages were dropped, by reason; handshake.None counts those that were not.
func (d *Device) HandshakeDrops() (n [handshake.Drops]uint64) {
	for i := range d.drops {
		n[i] = d.drops[i].Load()
	}
	return n
}
