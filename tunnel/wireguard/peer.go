package wireguard

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/outer"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// PeerConfig is what is set of a peer.
type PeerConfig struct {
	// Name is the tunnel's, unique in the engine.
	Name      string
	PublicKey handshake.PublicKey
	// PresharedKey is all zero where there is none.
	PresharedKey handshake.PresharedKey
	// PersistentKeepalive is after how long a silence in both directions a keepalive is sent; 0 is never.
	PersistentKeepalive time.Duration
	// Endpoint is where the peer is, if that is known. It goes through the first underlay of its family.
	Endpoint netip.AddrPort
	// AllowedIPs are the source addresses that the peer may use: all if nil, none if empty. They route nothing.
	AllowedIPs []netip.Prefix
	// SourceCheck, if there is one, is asked too.
	SourceCheck SourceCheck
	// MTU is the largest clear packet in bytes, where it does not follow from the path.
	MTU int
	// OnState is told by the goroutine of Run when the state changes, in order. It may call the device and its peers.
	OnState func(State)
}

// Peer is one of a device's peers, and the tunnel to it. It implements dataplane.Tunnel.
type Peer struct {
	// What workers read, together.
	path    atomic.Pointer[dataplane.Path]
	current atomic.Pointer[keypair]
	source  atomic.Pointer[source]
	// inner is InnerMTU, outer the path's MTU that it follows from.
	inner, outer atomic.Int32
	index        uint32
	noted        atomic.Uint32 // see note
	closed       atomic.Bool
	device       *Device
	// nextNoted is who pushed the peer to Device.notes until control takes it.
	nextNoted *Peer
	heard     atomic.Pointer[keypair]

	name    string
	log     *slog.Logger
	onState func(State)

	waiting waiting
	near    near

	mu         sync.Mutex
	endpoint   netip.AddrPort // the path's, or where there is no underlay for it
	registered netip.AddrPort // in Device.peers
	movedTold  time.Time
	mtu        outer.MTU
	fixedMTU   int

	// What follows is Device.mu's.

	hs       *handshake.Peer
	sessions [4]*keypair // previous, current, next, crossed
	state    State
	allowed  []netip.Prefix
	check    SourceCheck
	// sent and received count bytes of messages: of keypairs that are gone, and of handshakes.
	sent, received uint64
	// keptSent packets of keptBytes were sent after they had waited; lost were not.
	keptSent, keptBytes, lost uint64
}

// AddPeer adds a peer. index is what the data plane gave its tunnel.
func (d *Device) AddPeer(index uint32, cfg PeerConfig) (*Peer, error) {
	p := &Peer{device: d, index: index, name: cfg.Name, log: d.log.With("tunnel", cfg.Name), onState: cfg.OnState, fixedMTU: cfg.MTU,
		endpoint: unmapped(cfg.Endpoint), allowed: slices.Clone(cfg.AllowedIPs), check: cfg.SourceCheck}
	s, err := newSource(cfg.AllowedIPs, cfg.SourceCheck)
	if err != nil {
		return nil, fmt.Errorf("add WireGuard peer %q: %w", cfg.Name, err)
	}
	p.source.Store(s)
	p.recompute()
	defer d.lock()()
	p.hs, err = d.hs.AddPeer(d.now(), handshake.PeerConfig{PublicKey: cfg.PublicKey, PresharedKey: cfg.PresharedKey,
		PersistentKeepalive: cfg.PersistentKeepalive, Owner: p})
	if err != nil {
		return nil, fmt.Errorf("add WireGuard peer %q: %w", cfg.Name, err)
	}
	d.all[p] = struct{}{}
	p.settle()
	d.obey()
	return p, nil
}

// Close removes the peer from its device, at once and for good. Packets that wait are dropped.
func (p *Peer) Close() {
	d := p.device
	defer d.lock()()
	if p.closed.Swap(true) {
		return
	}
	d.hs.RemovePeer(p.hs)
	d.obey()
	delete(d.all, p)
	p.setPath(nil)
	p.dropKept()
}

// Name returns the tunnel's name.
func (p *Peer) Name() string { return p.name }

// PublicKey returns the peer's public key.
func (p *Peer) PublicKey() handshake.PublicKey { return p.hs.PublicKey() }

// InnerMTU returns the largest clear packet in bytes that fits the path now.
func (p *Peer) InnerMTU() int { return int(p.inner.Load()) }

// Path returns where the peer is now, or nil.
func (p *Peer) Path() *dataplane.Path { return p.path.Load() }

// SetPath says where the peer is and through which of the device's underlays. It asks the system for the path's MTU.
func (p *Peer) SetPath(path *dataplane.Path) {
	defer p.device.lock()()
	if !p.closed.Load() {
		p.setPath(path)
	}
}

// SetEndpoint says where the peer is. It goes through the first underlay of its family; where there is none, the endpoint is
// kept until one is added. The zero AddrPort forgets where the peer is.
func (p *Peer) SetEndpoint(endpoint netip.AddrPort) {
	defer p.device.lock()()
	if p.closed.Load() {
		return
	}
	endpoint = unmapped(endpoint)
	if path := p.path.Load(); path != nil && path.Remote == endpoint {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var path *dataplane.Path
	if endpoint.IsValid() {
		path = p.device.pathTo(endpoint)
	}
	p.movePath(path) // at once: between two paths no packet finds none
	p.endpoint = endpoint
}

// SetAllowedIPs says which source addresses the peer may use: all if nil, none if empty.
func (p *Peer) SetAllowedIPs(allowed []netip.Prefix) error {
	defer p.device.lock()()
	s, err := newSource(allowed, p.check)
	if err != nil {
		return fmt.Errorf("set allowed addresses of WireGuard peer %q: %w", p.name, err)
	}
	p.allowed = slices.Clone(allowed)
	p.source.Store(s)
	return nil
}

// SetSourceCheck sets a further filter for what the peer sends; nil for none.
func (p *Peer) SetSourceCheck(check SourceCheck) {
	defer p.device.lock()()
	s := source{all4: true, all6: true}
	if old := p.source.Load(); old != nil {
		s = *old
	}
	s.check, p.check = check, check
	if p.allowed == nil && check == nil {
		p.source.Store(nil)
		return
	}
	p.source.Store(&s)
}

// SetPresharedKey sets the key that the next handshake uses; all zero is none. Sessions stay.
func (p *Peer) SetPresharedKey(k handshake.PresharedKey) {
	defer p.device.lock()()
	p.hs.SetPresharedKey(k)
}

// SetPersistentKeepalive sets the interval; the first keepalive is due at once. 0 ends them.
func (p *Peer) SetPersistentKeepalive(every time.Duration) {
	defer p.device.lock()()
	p.hs.SetPersistentKeepalive(p.device.now(), every)
	p.device.obey()
}

// SetMTU sets the largest clear packet in bytes; 0 lets it follow from the path.
func (p *Peer) SetMTU(mtu int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fixedMTU = mtu
	p.recompute()
}

// Initiate asks for a session, as a packet would: a handshake begins unless there is one.
func (p *Peer) Initiate() { p.begin((*handshake.Peer).NeedSession) }

// Rekey makes a new session; the old one serves until that is there.
func (p *Peer) Rekey() { p.begin((*handshake.Peer).Renew) }

func (p *Peer) begin(how func(*handshake.Peer, time.Time)) {
	defer p.device.lock()()
	if !p.closed.Load() {
		how(p.hs, p.device.now())
		p.device.obey()
	}
}

// settle finds an underlay for an endpoint that has none. The caller holds Device.mu.
func (p *Peer) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path.Load() != nil || !p.endpoint.IsValid() {
		return
	}
	if path := p.device.pathTo(p.endpoint); path != nil {
		p.movePath(path)
	}
}

// setPath moves the peer, or with nil takes its path but not its endpoint.
func (p *Peer) setPath(path *dataplane.Path) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.movePath(path)
}

// movePath is setPath for a caller that holds p.mu.
func (p *Peer) movePath(path *dataplane.Path) {
	if path != nil {
		p.endpoint = path.Remote
	}
	p.path.Store(path)
	p.keepNear()
	p.explore()
}

// explore registers the path with the data plane and asks the system for its MTU. The caller holds p.mu.
func (p *Peer) explore() {
	var to netip.AddrPort
	path := p.path.Load()
	if path != nil {
		to = path.Remote
	}
	p.mtu.Explore(path, p.device.now(), p.log)
	p.device.peers.Move(p.registered, to)
	p.registered = to
	p.recompute()
}

// leave takes a path through that underlay away, and finds another.
func (p *Peer) leave(u dataplane.Underlay) {
	p.mu.Lock()
	if path := p.path.Load(); path != nil && path.Underlay == u {
		p.movePath(nil)
	}
	p.mu.Unlock()
	p.settle()
}

// moved is told where something authentic came from, the newest of its keypair or a handshake message. What takes long of a move
// is left to control, since a peer may move with every packet.
func (p *Peer) moved(u dataplane.Underlay, from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if path := p.path.Load(); p.closed.Load() || path != nil && path.Underlay == u && path.Remote == from || !p.device.serves(u) {
		return
	}
	p.endpoint = from
	p.path.Store(&dataplane.Path{Underlay: u, Remote: from})
	p.keepNear()
	p.recompute()
	p.note(noteMoved)
}

// tellMoveEvery is how close to each other moves of a peer are told to operators.
const tellMoveEvery = 10 * time.Second

// settleIn is control's part of a move.
func (p *Peer) settleIn(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return
	}
	p.explore()
	if now.Sub(p.movedTold) >= tellMoveEvery {
		p.movedTold = now
		p.log.Info("peer moved", "to", p.endpoint)
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
