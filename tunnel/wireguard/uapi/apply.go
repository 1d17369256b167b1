package uapi

import (
	"net/netip"
	"slices"
)

// Apply is the state that a change makes of s, by the rules of wg(8): settings first, then the peers in order; an allowed prefix
// belongs to the peer that had it said last; no peer has the interface's own key. What peers did (handshakes, octets) stays with
// them. Neither s nor c is changed; the result shares lists with s that are the same in both, so treat all three as constant.
//
// It takes time in proportion to s and c together, however many prefixes move.
func (s State) Apply(c Change) State {
	if c.PrivateKey != nil {
		s.PrivateKey = *c.PrivateKey
	}
	if c.ListenPort != nil {
		s.ListenPort = *c.ListenPort
	}
	if c.FwMark != nil {
		s.FwMark = *c.FwMark
	}
	var self PublicKey
	hasSelf := !s.PrivateKey.IsZero()
	if hasSelf {
		self = s.PrivateKey.public()
	}
	var before []PeerState
	if !c.ReplacePeers {
		before = s.Peers
	}
	a := newApplier(before, len(c.Peers))
	if i, ok := a.index[self]; ok && hasSelf {
		a.remove(i)
	}
	for _, p := range c.Peers {
		if !hasSelf || p.PublicKey != self {
			a.peer(p)
		}
	}
	s.Peers = a.result()
	return s
}

// applier holds the peers while a change is made. A prefix that moves away stays in its old peer's list until result throws out
// what owner says is not there: taking it out at once would cost the length of the list for each.
type applier struct {
	peers []workPeer
	index map[PublicKey]int
	owner map[netip.Prefix]int
}

type workPeer struct {
	PeerState
	removed bool
	// changed says that AllowedIPs is our copy, lost that some of it may not be the peer's any more or stand there twice.
	changed, lost bool
}

func newApplier(before []PeerState, more int) *applier {
	a := &applier{
		peers: make([]workPeer, len(before), len(before)+more),
		index: make(map[PublicKey]int, len(before)+more),
		owner: make(map[netip.Prefix]int),
	}
	for i, p := range before {
		a.peers[i].PeerState = p
		a.index[p.PublicKey] = i
		for _, prefix := range p.AllowedIPs {
			a.owner[prefix] = i
		}
	}
	return a
}

func (a *applier) peer(c PeerChange) {
	i, ok := a.index[c.PublicKey]
	if c.Remove {
		if ok {
			a.remove(i)
		}
		return
	}
	if !ok {
		if c.UpdateOnly {
			return
		}
		i = len(a.peers)
		a.peers = append(a.peers, workPeer{PeerState: PeerState{PublicKey: c.PublicKey}, changed: true})
		a.index[c.PublicKey] = i
	}
	p := &a.peers[i]
	if c.PresharedKey != nil {
		p.PresharedKey = *c.PresharedKey
	}
	if c.Endpoint.IsValid() {
		p.Endpoint = c.Endpoint
	}
	if c.PersistentKeepalive != nil {
		p.PersistentKeepalive = *c.PersistentKeepalive
	}
	if c.ReplaceAllowedIPs {
		a.disown(i)
	}
	for _, ip := range c.AllowedIPs {
		a.allow(i, ip)
	}
}

// remove leaves the peer's prefixes in owner: whoever has them said next takes them.
func (a *applier) remove(i int) {
	a.peers[i].removed = true
	delete(a.index, a.peers[i].PublicKey)
}

func (a *applier) disown(i int) {
	p := &a.peers[i]
	for _, prefix := range p.AllowedIPs {
		if owner, ok := a.owner[prefix]; ok && owner == i {
			delete(a.owner, prefix)
		}
	}
	p.AllowedIPs, p.changed, p.lost = nil, true, false
}

func (a *applier) allow(i int, ip AllowedIP) {
	p := &a.peers[i]
	owner, owned := a.owner[ip.Prefix]
	switch {
	case ip.Remove && owned && owner == i:
		delete(a.owner, ip.Prefix)
		p.lost = true
	case ip.Remove || owned && owner == i:
	default:
		if owned {
			a.peers[owner].lost = true
		}
		a.owner[ip.Prefix] = i
		if !p.changed {
			p.AllowedIPs, p.changed = slices.Clone(p.AllowedIPs), true
		}
		p.AllowedIPs = append(p.AllowedIPs, ip.Prefix)
	}
}

func (a *applier) result() []PeerState {
	out := make([]PeerState, 0, len(a.peers))
	for i := range a.peers {
		p := &a.peers[i]
		if p.removed {
			continue
		}
		if p.lost {
			p.AllowedIPs = a.kept(i)
		}
		out = append(out, p.PeerState)
	}
	return out
}

// kept is what of a peer's list is still its own, each prefix once: one that went and came back was appended a second time.
func (a *applier) kept(i int) []netip.Prefix {
	var out []netip.Prefix
	seen := make(map[netip.Prefix]bool)
	for _, prefix := range a.peers[i].AllowedIPs {
		if owner, ok := a.owner[prefix]; ok && owner == i && !seen[prefix] {
			seen[prefix] = true
			out = append(out, prefix)
		}
	}
	return out
}
