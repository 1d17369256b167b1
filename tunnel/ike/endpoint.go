package ike

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// An Endpoint is all IKE SAs of one engine. It has one owner: no two of its methods may run at once. Times must not go back.
type Endpoint struct {
	cfg Config
	now time.Time // of the input that is being handled

	// actions are the outputs of the input that is being handled.
	actions []Action
	timers  timers
	// ready are IKE SAs that may have a request to send when the input is handled.
	ready []*ikeSA

	peers map[string]*peer
	// byAddr has the peers with an address, templates those without, in the order in which they were added.
	byAddr    map[netip.Addr][]*peer
	templates []*peer
	// byID has the peers for which one identity is configured, by that.
	byID map[string][]*peer

	sas map[uint64]*ikeSA // by our SPI; the dead are not in it
	// inits finds the half-open IKE SA that an IKE_SA_INIT request made, for its retransmissions.
	inits map[initKey]*ikeSA
	// children has what was installed, by inbound SPI.
	children map[uint32]*child
	// halfOpen counts the IKE SAs as responder whose peer is not authenticated, and those that failed at that and linger.
	halfOpen int
	cookies  crypto.Cookies
	noise    noise
	number   uint64 // the last that was given to an IKE SA
}

// New returns an Endpoint without peers.
func New(cfg Config) (*Endpoint, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Endpoint{
		cfg: cfg, peers: map[string]*peer{}, byAddr: map[netip.Addr][]*peer{}, byID: map[string][]*peer{}, sas: map[uint64]*ikeSA{},
		inits: map[initKey]*ikeSA{}, children: map[uint32]*child{},
	}, nil
}

// handle runs one input and returns what came of it.
func (e *Endpoint) handle(now time.Time, input func()) []Action {
	if now.After(e.now) {
		e.now = now
	}
	input()
	for len(e.ready) > 0 {
		sa := e.ready[0]
		e.ready = e.ready[1:]
		sa.pump()
	}
	actions := e.actions
	e.actions, e.ready = nil, nil
	return actions
}

func (e *Endpoint) emit(a Action) { e.actions = append(e.actions, a) }

// Deadline returns when Tick is to be called; the zero time if nothing waits.
func (e *Endpoint) Deadline() time.Time { return e.timers.next() }

// Tick does what is due.
func (e *Endpoint) Tick(now time.Time) []Action {
	return e.handle(now, func() {
		for fire := e.timers.due(e.now); fire != nil; fire = e.timers.due(e.now) {
			fire()
		}
	})
}

// Receive handles a datagram that arrived from remote at local. natt says that it came to the socket of port 4500; the
// non-ESP marker is not part of it, and ESP and keepalives are not for here. The datagram is not kept.
func (e *Endpoint) Receive(now time.Time, local, remote netip.AddrPort, natt bool, datagram []byte) []Action {
	path := Path{Local: unmap(local), Remote: unmap(remote), NATT: natt}
	return e.handle(now, func() { e.receive(path, datagram) })
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// AddPeer adds a peer and does the start actions of its children.
func (e *Endpoint) AddPeer(now time.Time, cfg PeerConfig) ([]Action, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if e.peers[cfg.Name] != nil {
		return nil, fmt.Errorf("IKE peer %q: it is there already", cfg.Name)
	}
	cfg.Local, cfg.Remote = cfg.Local.Unmap(), cfg.Remote.Unmap()
	p := &peer{e: e, cfg: cfg, armed: map[string]bool{}}
	e.peers[cfg.Name] = p
	if cfg.template() {
		e.templates = append(e.templates, p)
	} else {
		e.byAddr[cfg.Remote] = append(e.byAddr[cfg.Remote], p)
	}
	if id, ok := cfg.Credentials.RemoteID(); ok {
		e.byID[idKey(id)] = append(e.byID[idKey(id)], p)
	}
	return e.handle(now, p.begin), nil
}

// RemovePeer deletes a peer's IKE SAs, telling it, and forgets the peer. What it made is down at once, in the actions.
func (e *Endpoint) RemovePeer(now time.Time, name string) ([]Action, error) {
	p := e.peers[name]
	if p == nil {
		return nil, unknownPeer(name)
	}
	return e.handle(now, func() { p.remove(errRemoved) }), nil
}

// Stop is RemovePeer of all peers, for an engine that stops.
func (e *Endpoint) Stop(now time.Time) []Action {
	return e.handle(now, func() {
		for _, name := range slices.Sorted(maps.Keys(e.peers)) {
			e.peers[name].remove(errStopped)
		}
	})
}

// remove forgets a peer, for a reason.
func (p *peer) remove(why error) {
	e, name := p.e, p.cfg.Name
	p.removed = true
	e.timers.stop(&p.retry)
	e.timers.stop(&p.tidy)
	for child := range p.armed {
		p.arm(child, false)
	}
	for _, sa := range slices.Clone(p.sas) {
		sa.terminate(why)
	}
	delete(e.peers, name)
	without := func(all []*peer) []*peer { return slices.DeleteFunc(all, func(o *peer) bool { return o == p }) }
	if p.cfg.template() {
		e.templates = without(e.templates)
	} else if e.byAddr[p.cfg.Remote] = without(e.byAddr[p.cfg.Remote]); len(e.byAddr[p.cfg.Remote]) == 0 {
		delete(e.byAddr, p.cfg.Remote)
	}
	if id, ok := p.cfg.Credentials.RemoteID(); ok {
		if e.byID[idKey(id)] = without(e.byID[idKey(id)]); len(e.byID[idKey(id)]) == 0 {
			delete(e.byID, idKey(id))
		}
	}
}

// idKey is an identity as the key of a map.
func idKey(id message.ID) string { return string(rune(id.Type)) + string(id.Data) }

func unknownPeer(name string) error { return fmt.Errorf("IKE peer %q: there is none", name) }

// lookup finds a peer and, with a name, one of its children.
func (e *Endpoint) lookup(name, child string) (*peer, *ChildConfig, error) {
	p := e.peers[name]
	if p == nil {
		return nil, nil, unknownPeer(name)
	}
	if child == "" {
		return p, nil, nil
	}
	cfg := p.cfg.child(child)
	if cfg == nil {
		return nil, nil, fmt.Errorf("IKE peer %q: it has no child %q", name, child)
	}
	return p, cfg, nil
}

// Initiate brings up a child, or with child "" all of a peer's, unless they are.
func (e *Endpoint) Initiate(now time.Time, name, child string) ([]Action, error) {
	p, _, err := e.lookup(name, child)
	if err != nil {
		return nil, err
	}
	if p.cfg.template() {
		return nil, fmt.Errorf("IKE peer %q: a template cannot be initiated: it has no address", name)
	}
	return e.handle(now, func() {
		p.tries = 0
		if child != "" {
			p.initiate(child)
			return
		}
		p.initiate(p.childNames()...)
	}), nil
}

// TrapHit says that a packet came for a child that is not up.
func (e *Endpoint) TrapHit(now time.Time, name, child string) ([]Action, error) {
	p, _, err := e.lookup(name, child)
	if err != nil || p.cfg.template() {
		return nil, err
	}
	return e.handle(now, func() {
		p.armed[child] = false
		p.initiate(child)
	}), nil
}

// Terminate ends a child of a peer, or with child "" the peer's IKE SAs, and stops initiating.
func (e *Endpoint) Terminate(now time.Time, name, child string) ([]Action, error) {
	p, _, err := e.lookup(name, child)
	if err != nil {
		return nil, err
	}
	return e.handle(now, func() { p.terminate(child) }), nil
}

// Rekey rekeys a child of a peer, or with child "" the peer's IKE SAs.
func (e *Endpoint) Rekey(now time.Time, name, child string) ([]Action, error) {
	p, _, err := e.lookup(name, child)
	if err != nil {
		return nil, err
	}
	return e.handle(now, func() { p.rekey(child) }), nil
}

// Usage is what an installed child SA has carried since it was made.
type Usage struct {
	InBytes, InPackets, OutBytes, OutPackets uint64
}

// Used tells what the child SA with this inbound SPI has carried, from time to time: for lifetimes in bytes and packets, and
// since packets that arrive are a sign of the peer's life.
func (e *Endpoint) Used(now time.Time, in uint32, u Usage) []Action {
	return e.handle(now, func() {
		if c := e.children[in]; c != nil {
			c.used(u)
		}
	})
}

// Moved tells that the peer of this inbound SPI sends authentic ESP from elsewhere. It is followed if NAT detection found only the
// peer behind a NAT (RFC 7296 section 2.23); PeerMoved says so.
func (e *Endpoint) Moved(now time.Time, in uint32, remote netip.AddrPort) []Action {
	return e.handle(now, func() {
		if c := e.children[in]; c != nil {
			path := c.sa.path
			path.Remote = unmap(remote)
			c.sa.moved(path)
		}
	})
}

// random fills b. A source of randomness that fails leaves no way to go on.
func (e *Endpoint) random(b []byte) []byte {
	if _, err := io.ReadFull(e.cfg.Rand, b); err != nil {
		panic(fmt.Sprintf("IKE: no randomness: %v", err))
	}
	return b
}

func (e *Endpoint) random64() uint64 { return binary.BigEndian.Uint64(e.random(make([]byte, 8))) }

// upTo returns a random number from 0 to n, which may be a duration or a number of bytes.
func upTo[T time.Duration | uint64](e *Endpoint, n T) T {
	if n <= 0 {
		return 0
	}
	return T(e.random64() % (uint64(n) + 1))
}

// nonceLen is enough for all PRFs here (RFC 7296 section 2.10).
const nonceLen = 32

func (e *Endpoint) nonce() []byte { return e.random(make([]byte, nonceLen)) }

// newSPI returns an SPI for an IKE SA that no other one has, not zero.
func (e *Endpoint) newSPI() uint64 {
	for {
		spi := e.random64()
		if _, used := e.sas[spi]; spi != 0 && !used {
			return spi
		}
	}
}

func (e *Endpoint) log(level slog.Level, peer string, sa *ikeSA, err error, format string, args ...any) {
	l := Log{Level: level, Peer: peer, Text: fmt.Sprintf(format, args...), Err: err}
	if sa != nil {
		l.IKE = sa.number
	}
	e.emit(l)
}
