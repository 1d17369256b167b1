package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// maxWeight is what rtnetlink can say of a next hop.
const maxWeight = 256

// standIn is the gateway of IPv6 multipath hops that have none.
var standIn = netip.MustParseAddr("fe80::ffff:ffff:ffff:fffe")

// ErrInvalid is wrapped by what Set, Delete and Protect say of arguments.
var ErrInvalid = errors.New("not a route for the kernel")

// Hop is a next hop of a route of ours: a device, by name or by index.
type Hop struct {
	Device string // may come into being later
	Index  int    // counts if Device is empty
	// Gateway is optional; for an IPv4 prefix it may be an IPv6 address (RFC 8950). OnLink spares it the check that the
	// device has a route to it.
	Gateway netip.Addr
	OnLink  bool
	// Weight is the share of flows; 0 counts as 1. Above 256 the weights of a route are scaled down.
	Weight uint16
}

func checkPrefix(prefix netip.Prefix) error {
	switch {
	case !prefix.IsValid():
		return fmt.Errorf("%w: invalid prefix", ErrInvalid)
	case prefix.Masked() != prefix:
		return fmt.Errorf("%w: prefix %v has host bits; %v is meant", ErrInvalid, prefix, prefix.Masked())
	case prefix.Addr().Is4In6():
		return fmt.Errorf("%w: prefix %v is IPv4 mapped into IPv6", ErrInvalid, prefix)
	}
	return nil
}

// checkHops allows at most 256 hops, more than the kernel has use for.
func checkHops(prefix netip.Prefix, hops []Hop) error {
	if len(hops) == 0 || len(hops) > maxWeight {
		return fmt.Errorf("%w: %v with %d next hops, want 1 to %d", ErrInvalid, prefix, len(hops), maxWeight)
	}
	for _, h := range hops {
		switch g := h.Gateway; {
		case h.Device == "" && h.Index <= 0:
			return fmt.Errorf("%w: %v has a next hop without device", ErrInvalid, prefix)
		case len(h.Device) >= unix.IFNAMSIZ:
			return fmt.Errorf("%w: device name %q is longer than %d", ErrInvalid, h.Device, unix.IFNAMSIZ-1)
		case g.Is4In6() || g.Zone() != "":
			return fmt.Errorf("%w: gateway %v of %v must have neither zone nor mapped IPv4", ErrInvalid, g, prefix)
		case g.Is4() && prefix.Addr().Is6():
			return fmt.Errorf("%w: IPv6 prefix %v has the IPv4 gateway %v", ErrInvalid, prefix, g)
		}
	}
	return nil
}

// hopSet is what routes share that lead to the same hops.
type hopSet struct {
	key   string
	hops  []Hop
	users int // places that want it
	// usable are those whose devices are live, for each family, as the kernel is told; replaced, never changed.
	usable4, usable6 *standing
	generation       uint64 // of the links that usable stem from
}

// standing is what stands, or should, at a place.
type standing struct {
	hops []hop // in the order of compareHops
}

// The standings that are no hops.
var (
	unreachable = &standing{}
	unknown     = &standing{}
)

func (s *standing) same(o *standing) bool {
	if s == o {
		return true
	}
	return s != nil && o != nil && len(s.hops) > 0 && slices.Equal(s.hops, o.hops)
}

func appendKey(b []byte, hops []Hop) []byte {
	for _, h := range hops {
		b = append(b, h.Device...)
		b = append(b, 0, byte(h.Index>>24), byte(h.Index>>16), byte(h.Index>>8), byte(h.Index), byte(h.Weight>>8), byte(h.Weight))
		if h.OnLink {
			b = append(b, 1)
		}
		b = append(b, byte(h.Gateway.BitLen()))
		b = append(b, h.Gateway.AsSlice()...)
	}
	return b
}

// hopSets keeps one hopSet for equal hops.
type hopSets struct {
	sets map[string]*hopSet
	key  []byte
}

func (s *hopSets) hold(hops []Hop) *hopSet {
	s.key = appendKey(s.key[:0], hops)
	set := s.sets[string(s.key)]
	if set == nil {
		set = &hopSet{key: string(s.key), hops: slices.Clone(hops)}
		s.sets[set.key] = set
	}
	set.users++
	return set
}

func (s *hopSets) release(set *hopSet) {
	if set == nil || set == protection {
		return
	}
	if set.users--; set.users == 0 {
		delete(s.sets, set.key)
	}
}

// links are the devices that there are.
type links struct {
	byIndex    map[int32]link
	byName     map[string]int32
	generation uint64
}

func newLinks() links {
	return links{byIndex: map[int32]link{}, byName: map[string]int32{}, generation: 1}
}

// put returns whether anything changed that matters.
func (l *links) put(n link) bool {
	old, known := l.byIndex[n.index]
	l.byIndex[n.index] = n
	if known && old.name == n.name && old.flags == n.flags {
		return false
	}
	if known && l.byName[old.name] == n.index {
		delete(l.byName, old.name)
	}
	l.byName[n.name] = n.index
	l.generation++
	return !known || old.name != n.name || old.live() != n.live() || (old.flags^n.flags)&unix.IFF_UP != 0
}

func (l *links) remove(index int32) bool {
	old, known := l.byIndex[index]
	if !known {
		return false
	}
	delete(l.byIndex, index)
	if l.byName[old.name] == index {
		delete(l.byName, old.name)
	}
	l.generation++
	return true
}

// find returns the device of a hop if it is live.
func (l *links) find(h Hop) (link, bool) {
	index := int32(h.Index)
	if h.Device != "" {
		index = l.byName[h.Device]
	}
	found, ok := l.byIndex[index]
	return found, ok && found.live()
}

// usable returns what the kernel is to be told of the set, nil if no device is live.
func (l *links) usable(set *hopSet, is6 bool) *standing {
	if set.generation != l.generation {
		set.generation = l.generation
		set.usable4, set.usable6 = keep(set.usable4, l.resolve(set.hops, false)), keep(set.usable6, l.resolve(set.hops, true))
	}
	if is6 {
		return set.usable6
	}
	return set.usable4
}

// keep prefers the old pointer to an equal new one.
func keep(old, now *standing) *standing {
	if old.same(now) {
		return old
	}
	return now
}

func (l *links) resolve(hops []Hop, is6 bool) *standing {
	var out []hop
	highest := uint16(1)
	for _, h := range hops {
		device, ok := l.find(h)
		if !ok {
			continue
		}
		weight := max(h.Weight, 1)
		n := hop{index: device.index, gateway: h.Gateway, onLink: h.OnLink && h.Gateway.IsValid(), weight: weight}
		same := func(o hop) bool { return o.index == n.index && o.gateway == n.gateway }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i].weight += min(weight, 0xffff-out[i].weight)
			weight = out[i].weight
		} else {
			out = append(out, n)
		}
		highest = max(highest, weight)
	}
	if len(out) == 0 {
		return nil
	}
	for i := range out {
		h := &out[i]
		if len(out) == 1 {
			h.weight = 1
		} else if highest > maxWeight {
			h.weight = uint16(max(int(h.weight)*maxWeight/int(highest), 1))
		}
		if is6 && len(out) > 1 && !h.gateway.IsValid() && l.byIndex[h.index].flags&unix.IFF_NOARP != 0 {
			h.gateway = standIn
		}
	}
	slices.SortFunc(out, compareHops)
	return &standing{hops: out}
}

func compareHops(a, b hop) int {
	return cmp.Or(cmp.Compare(a.index, b.index), a.gateway.Compare(b.gateway), cmp.Compare(a.weight, b.weight))
}
