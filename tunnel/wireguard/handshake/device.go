package handshake

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/internal/deadline"
)

// Indices hands out the numbers by which peers name our handshakes and sessions. The transport owns them, since it looks one
// up for every packet. The owner of the Device calls it.
type Indices interface {
	// Allocate is a number that is not in use, hard to guess. Packets to it may come as soon as the actions of the call in
	// which it was allocated are carried out.
	Allocate(*Peer) uint32
	// Release says that a number is in use no more.
	Release(uint32)
}

// Config is what a Device needs.
type Config struct {
	PrivateKey PrivateKey
	Indices    Indices
	// Wall is the time of day, for the timestamps of initiations. All other times are the now of the call, which need only
	// go forward.
	Wall func() time.Time
	// Jitter is a random duration below max. Nil: of math/rand.
	Jitter func(max time.Duration) time.Duration
	// KeyLog is told the keys of every handshake of ours, from any goroutine. Nil: nobody is.
	KeyLog func(EphemeralKeys)
}

// A Device is WireGuard's protocol for one private key and its peers. It has one owner: only Prepare may be called from any
// goroutine at any time.
type Device struct {
	id     atomic.Pointer[identity]
	limit  limiter
	wall   func() time.Time
	jitter func(time.Duration) time.Duration
	keyLog func(EphemeralKeys)

	mu    sync.RWMutex // the owner writes peers, Prepare reads it
	peers map[PublicKey]*Peer

	indices Indices
	owners  map[uint32]*Peer // of the indices that are in use
	timers  deadline.Queue[*Peer]

	actions []Action
	given   []Action // by Actions, and free when it is called again
}

// New makes a Device without peers.
func New(c Config) (*Device, error) {
	if c.Indices == nil || c.Wall == nil {
		return nil, errors.New("make a WireGuard device: it needs Indices and Wall")
	}
	id, err := newIdentity(c.PrivateKey)
	if err != nil {
		return nil, err
	}
	d := &Device{wall: c.Wall, jitter: c.Jitter, keyLog: c.KeyLog, indices: c.Indices,
		peers: make(map[PublicKey]*Peer), owners: make(map[uint32]*Peer)}
	if d.jitter == nil {
		d.jitter = func(below time.Duration) time.Duration { return rand.N(below) }
	}
	d.id.Store(id)
	return d, nil
}

// PublicKey is the device's public key.
func (d *Device) PublicKey() PublicKey { return d.id.Load().public }

// Actions returns what is to be done since it was last called, in this order. The slice, and the keys of keypairs that it
// says are erased, are valid until the next call: one must follow every call that hands the machine something, if only
// to find that there is nothing to do.
func (d *Device) Actions() []Action {
	for _, a := range d.given {
		if e, ok := a.(Erase); ok {
			e.Keypair.erase()
		}
	}
	clear(d.given)
	d.actions, d.given = d.given[:0], d.actions
	return d.given
}

func (d *Device) do(a Action) { d.actions = append(d.actions, a) }

// SetPrivateKey gives the device another key. All sessions and handshakes end. It fails, and changes nothing, if a peer has
// the new public key: remove that first.
func (d *Device) SetPrivateKey(k PrivateKey) error {
	id, err := newIdentity(k)
	if err != nil {
		return err
	}
	if id.public == d.PublicKey() {
		return nil
	}
	if d.Peer(id.public) != nil {
		return fmt.Errorf("set the private key: %w", ErrOwnKey)
	}
	d.id.Store(id)
	for _, p := range d.peers {
		p.end()
		p.purse = purse{}
	}
	return nil
}

// AddPeer adds a peer. A persistent keepalive begins with the next Tick.
func (d *Device) AddPeer(now time.Time, c PeerConfig) (*Peer, error) {
	id := d.id.Load()
	switch {
	case c.PublicKey.IsZero():
		return nil, fmt.Errorf("add a peer: %w", ErrNoKey)
	case c.PublicKey == id.public:
		return nil, fmt.Errorf("add peer %v: %w", c.PublicKey, ErrOwnKey)
	case d.Peer(c.PublicKey) != nil:
		return nil, fmt.Errorf("add peer %v: %w", c.PublicKey, ErrPeerExists)
	}
	p := &Peer{device: d, public: c.PublicKey, owner: c.Owner, psk: c.PresharedKey}
	if _, err := p.secretWith(id); err != nil {
		return nil, fmt.Errorf("add peer %v: %w", c.PublicKey, ErrWeakKey)
	}
	d.mu.Lock()
	d.peers[p.public] = p
	d.mu.Unlock()
	p.SetPersistentKeepalive(now, c.PersistentKeepalive)
	return p, nil
}

// RemovePeer ends all that there is with a peer.
func (d *Device) RemovePeer(p *Peer) {
	if p.gone {
		return
	}
	d.mu.Lock()
	delete(d.peers, p.public)
	d.mu.Unlock()
	p.end()
	p.gone = true
	d.timers.Set(p, time.Time{})
}

// Peer is the peer with this public key, or nil.
func (d *Device) Peer(k PublicKey) *Peer {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.peers[k]
}

// HandleMessage takes a datagram that is not transport data. underLoad says that there are more of them than can be worked
// on: then only those are that carry a cookie, which proves where they come from. b is not kept.
func (d *Device) HandleMessage(now time.Time, b []byte, from netip.AddrPort, underLoad bool) Drop {
	return d.Commit(now, d.Prepare(now, b, from, underLoad, Knock{}))
}

// Commit takes what Prepare made of a message.
func (d *Device) Commit(now time.Time, m Prepared) Drop {
	switch {
	case m.drop == NeedsCookie:
		b, to := m.Refusal(make([]byte, 0, CookieReplySize))
		d.do(Send{To: to, Bytes: b})
	case m.drop != None:
	case m.answer != nil:
		return d.commitAnswer(now, m.answer, m.from)
	case m.kind == TypeResponse:
		return d.commitResponse(now, m.response, m.from)
	case m.kind == TypeCookieReply:
		return d.commitCookie(now, m.cookie)
	}
	return m.drop
}

func (d *Device) allocate(p *Peer) uint32 {
	i := d.indices.Allocate(p)
	d.owners[i] = p
	return i
}

func (d *Device) release(i uint32) {
	delete(d.owners, i)
	d.indices.Release(i)
}
