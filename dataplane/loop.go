package dataplane

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane/wire"
)

// ownFrames recognises the engine's own sealed packets when the host's routes send them back into a port: an ESP packet
// or a datagram from one of our UDP ports that goes to one of our peers. Without this a default route into the port
// would seal every sealed packet again, for ever.
type ownFrames struct {
	// ports are the UDP ports our underlays send from; raw is whether one sends IP protocol 50.
	ports atomic.Pointer[[]uint16]
	// some has a bit for each of ports, by the number's last six bits: most datagrams meet none.
	some  atomic.Uint64
	raw   atomic.Bool
	peers Peers
}

func (o *ownFrames) add(u Underlay) {
	if !u.Local().IsValid() {
		return // nothing leaves by it
	}
	if !u.Encap().UDP {
		o.raw.Store(true)
		return
	}
	var ports []uint16
	if old := o.ports.Load(); old != nil {
		ports = append(ports, *old...)
	}
	o.setPorts(append(ports, u.Local().Port()))
}

func (o *ownFrames) setPorts(ports []uint16) {
	var some uint64
	for _, port := range ports {
		some |= 1 << (port % 64)
	}
	o.ports.Store(&ports)
	o.some.Store(some)
}

// remove forgets the port of an underlay that is gone. Raw underlays are remembered: what goes to a peer by IP protocol 50 is
// never the port's to send.
func (o *ownFrames) remove(u Underlay) {
	old := o.ports.Load()
	if old == nil || !u.Encap().UDP {
		return
	}
	ports := slices.Clone(*old)
	if i := slices.Index(ports, u.Local().Port()); i >= 0 {
		ports = slices.Delete(ports, i, i+1)
	}
	o.setPorts(ports)
}

// may says whether the packet can be one of our frames, or a fragment of one. It is cheap, and false for nearly all.
func (o *ownFrames) may(info *wire.Info) bool {
	return info.Proto == wire.ProtoUDP && (o.some.Load()>>(info.SrcPort%64)&1 != 0 || info.Flags&wire.FlagFragment != 0) ||
		info.Proto == wire.ProtoESP
}

// is says whether the packet is one of our frames.
func (o *ownFrames) is(info *wire.Info) bool {
	switch info.Proto {
	case wire.ProtoUDP:
		if ports := o.ports.Load(); ports != nil && slices.Contains(*ports, info.SrcPort) {
			return o.peers.has(netip.AddrPortFrom(info.DstAddr(), info.DstPort))
		}
	case wire.ProtoESP:
		return o.raw.Load() && o.peers.has(netip.AddrPortFrom(info.DstAddr(), 0))
	}
	return false
}

// ownPieces recognises the fragments that the host makes of our own frames on their way back into a port. Only the first one of a
// datagram says which ports it has; the others belong to it by addresses and identification (RFC 791 section 3.2, RFC 8200
// section 4.5). The kernel makes them one behind the other and puts them into the same queue, so the few latest are enough.
type ownPieces struct {
	lately [8]pieceOf
	next   int
}

// pieceOf is which datagram a fragment belongs to.
type pieceOf struct {
	src, dst wire.Key6
	id       uint32
}

// is says whether the fragment is one of our frames, or of one whose first fragment was.
func (o *ownPieces) is(own *ownFrames, b []byte, info *wire.Info) bool {
	of := pieceOf{info.Src, info.Dst, 0}
	switch {
	case info.Version == 4:
		of.id = uint32(binary.BigEndian.Uint16(b[4:]))
	case b[6] == wire.ProtoFragment: // as the kernel writes it, right behind the IPv6 header
		of.id = binary.BigEndian.Uint32(b[wire.IPv6HeaderLen+4:])
	}
	if info.Flags&wire.FlagLater != 0 && info.Proto == wire.ProtoUDP {
		return slices.Contains(o.lately[:], of)
	}
	if !own.is(info) {
		return false
	}
	o.lately[o.next%len(o.lately)] = of
	o.next++
	return true
}

// peerShards is how many maps the register of peers is spread over: a change copies one of them.
const peerShards = 256

// Peers is a register of peers' addresses on the underlay, counted, for any number of writers. Readers take no lock and
// allocate nothing: they look into immutable maps.
type Peers struct {
	mu     sync.Mutex
	shards [peerShards]atomic.Pointer[map[netip.AddrPort]int]
}

// Move records that a tunnel's peer is now at to and no longer at from. Either may be the zero AddrPort. For raw
// underlays the port is 0.
func (p *Peers) Move(from, to netip.AddrPort) {
	if from == to {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if to.IsValid() {
		p.count(to, 1)
	}
	if from.IsValid() {
		p.count(from, -1)
	}
}

func (p *Peers) count(a netip.AddrPort, by int) {
	shard := p.shard(a)
	changed := map[netip.AddrPort]int{}
	if old := shard.Load(); old != nil {
		changed = maps.Clone(*old)
	}
	if changed[a] += by; changed[a] <= 0 {
		delete(changed, a)
	}
	shard.Store(&changed)
}

func (p *Peers) shard(a netip.AddrPort) *atomic.Pointer[map[netip.AddrPort]int] {
	k := wire.KeyOf(a.Addr())
	h := (k.Hi ^ k.Lo ^ uint64(a.Port())<<40) * 0x9e3779b97f4a7c15
	return &p.shards[h>>56]
}

func (p *Peers) has(a netip.AddrPort) bool {
	m := p.shard(a).Load()
	return m != nil && (*m)[a] > 0
}
