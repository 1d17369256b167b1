package message

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// Flags of path attributes (RFC 4271 section 4.3).
const (
	flagOptional   = 0x80
	flagTransitive = 0x40
	flagPartial    = 0x20
	flagExtended   = 0x10
)

// Types of path attributes.
const (
	attrOrigin           = 1
	attrASPath           = 2
	attrNextHop          = 3
	attrMED              = 4
	attrLocalPref        = 5
	attrAtomicAggregate  = 6
	attrAggregator       = 7
	attrCommunities      = 8
	attrOriginatorID     = 9
	attrClusterList      = 10
	attrMPReach          = 14
	attrMPUnreach        = 15
	attrExtCommunities   = 16
	attrAS4Path          = 17
	attrAS4Aggregator    = 18
	attrLargeCommunities = 32

	attributeTypes = attrLargeCommunities + 1
)

// attribute is what there is to know about a type of attribute.
type attribute struct {
	name  string
	flags uint8 // the Optional and Transitive bits that it must have
	// internal attributes are discarded from external neighbours, twoOctetAS ones from those that do not need them.
	internal, twoOctetAS bool
	// wrong is the treatment where decode says what is wrong (RFC 7606 section 7).
	wrong Treatment
	// decode returns a problem or "". MP_REACH_NLRI and MP_UNREACH_NLRI are read elsewhere: their errors end the session.
	decode func(p *parser, v []byte) (problem string)
}

// attributes are all types that are known here, by type.
var attributes = [attributeTypes]attribute{
	attrOrigin:           {name: "ORIGIN", flags: flagTransitive, wrong: TreatAsWithdraw, decode: (*parser).origin},
	attrASPath:           {name: "AS_PATH", flags: flagTransitive, wrong: TreatAsWithdraw, decode: (*parser).asPath},
	attrNextHop:          {name: "NEXT_HOP", flags: flagTransitive, wrong: TreatAsWithdraw, decode: (*parser).nextHop4},
	attrMED:              {name: "MULTI_EXIT_DISC", flags: flagOptional, wrong: TreatAsWithdraw, decode: (*parser).med},
	attrLocalPref:        {name: "LOCAL_PREF", flags: flagTransitive, internal: true, wrong: TreatAsWithdraw, decode: (*parser).localPref},
	attrAtomicAggregate:  {name: "ATOMIC_AGGREGATE", flags: flagTransitive, wrong: AttributeDiscard, decode: (*parser).atomicAggregate},
	attrAggregator:       {name: "AGGREGATOR", flags: flagOptional | flagTransitive, wrong: AttributeDiscard, decode: (*parser).aggregator},
	attrCommunities:      {name: "COMMUNITIES", flags: flagOptional | flagTransitive, wrong: TreatAsWithdraw, decode: (*parser).communities},
	attrOriginatorID:     {name: "ORIGINATOR_ID", flags: flagOptional, internal: true, wrong: TreatAsWithdraw, decode: (*parser).originatorID},
	attrClusterList:      {name: "CLUSTER_LIST", flags: flagOptional, internal: true, wrong: TreatAsWithdraw, decode: (*parser).clusterList},
	attrMPReach:          {name: "MP_REACH_NLRI", flags: flagOptional},
	attrMPUnreach:        {name: "MP_UNREACH_NLRI", flags: flagOptional},
	attrExtCommunities:   {name: "EXTENDED COMMUNITIES", flags: flagOptional | flagTransitive, wrong: TreatAsWithdraw, decode: (*parser).extCommunities},
	attrAS4Path:          {name: "AS4_PATH", flags: flagOptional | flagTransitive, twoOctetAS: true, wrong: AttributeDiscard, decode: (*parser).as4Path},
	attrAS4Aggregator:    {name: "AS4_AGGREGATOR", flags: flagOptional | flagTransitive, twoOctetAS: true, wrong: AttributeDiscard, decode: (*parser).as4Aggregator},
	attrLargeCommunities: {name: "LARGE_COMMUNITY", flags: flagOptional | flagTransitive, wrong: TreatAsWithdraw, decode: (*parser).largeCommunities},
}

func attributeName(typ uint8) string {
	if int(typ) < len(attributes) && attributes[typ].name != "" {
		return attributes[typ].name
	}
	return fmt.Sprintf("attribute %d", typ)
}

// block is what most attributes of a message fit into, so that they are one allocation.
type block struct {
	attrs    route.Attrs
	segments [1]route.Segment
}

// decode decodes the values that scan found, in ascending order of their types, and checks what must be there.
func (p *parser) decode() {
	if !p.others && len(p.u.prefixes) == 0 || p.u.Treatment == TreatAsWithdraw {
		return
	}
	p.allocate()
	for left := p.seen[0]; left != 0; left &= left - 1 { // all that are known here are below 64
		typ := uint8(bits.TrailingZeros64(left))
		if typ >= attributeTypes || p.spans[typ].start == 0 || attributes[typ].decode == nil {
			continue
		}
		a := &attributes[typ]
		if problem := a.decode(p, p.value(typ)); problem != "" {
			p.note(a.wrong, a.name+" "+problem)
		}
	}
	p.keepUnknown()
	p.mandatory()
}

// allocate makes room for the attributes, or takes that of others which are unused.
func (p *parser) allocate() {
	u := p.u
	if u.block == nil {
		u.block = new(block)
	}
	*u.block, u.unused = block{}, false
	p.attrs = &u.block.attrs
	p.attrs.ASPath = u.block.segments[:0:1]
	// The numbers may be kept: not much more room than they need.
	n := len(p.value(attrASPath))/p.sizeOfAS() + len(p.value(attrCommunities))/4
	if cap(u.words) < n || cap(u.words) > n+8 {
		u.words = make([]uint32, 0, n)
	}
	p.words = u.words
}

// mandatory checks RFC 7606 section 3 d and the first AS of the path (RFC 4271 section 6.3).
func (p *parser) mandatory() {
	if len(p.u.prefixes) == 0 {
		return
	}
	for _, typ := range [...]uint8{attrOrigin, attrASPath} {
		if p.value(typ) == nil {
			p.note(TreatAsWithdraw, attributeName(typ)+" is missing")
		}
	}
	if p.fromField > 0 {
		if p.value(attrNextHop) == nil {
			p.note(TreatAsWithdraw, "NEXT_HOP is missing")
		} else if !unicast(p.nextHop) {
			p.note(TreatAsWithdraw, fmt.Sprintf("NEXT_HOP %s is not the address of a host", p.nextHop))
		}
	}
	if p.o.FirstAS != 0 && !startsWith(p.attrs.ASPath, p.o.FirstAS) {
		p.note(TreatAsWithdraw, fmt.Sprintf("AS_PATH does not begin with AS %d", p.o.FirstAS))
	}
}

func startsWith(path []route.Segment, as uint32) bool {
	return len(path) > 0 && path[0].Type == route.ASSequence && path[0].ASNs[0] == as
}

// keepUnknown gives the attributes that are passed on a life beyond the message's, in ascending order.
func (p *parser) keepUnknown() {
	for i := range p.unknown {
		p.unknown[i].Value = append([]byte{}, p.unknown[i].Value...)
		for k := i; k > 0 && p.unknown[k].Type < p.unknown[k-1].Type; k-- {
			p.unknown[k], p.unknown[k-1] = p.unknown[k-1], p.unknown[k]
		}
	}
	p.attrs.Unknown = p.unknown
}

func (p *parser) origin(v []byte) string {
	if len(v) != 1 {
		return octets(v, "1")
	}
	if v[0] > byte(route.OriginIncomplete) {
		return fmt.Sprintf("has the undefined value %d", v[0])
	}
	p.attrs.Origin = route.Origin(v[0])
	return ""
}

func (p *parser) nextHop4(v []byte) string {
	if len(v) != 4 {
		return octets(v, "4")
	}
	p.nextHop = addr4(v)
	return ""
}

func (p *parser) med(v []byte) string {
	if len(v) != 4 {
		return octets(v, "4")
	}
	p.attrs.MED, p.attrs.HasMED = binary.BigEndian.Uint32(v), true
	return ""
}

func (p *parser) localPref(v []byte) string {
	if len(v) != 4 {
		return octets(v, "4")
	}
	p.attrs.LocalPref, p.attrs.HasLocalPref = binary.BigEndian.Uint32(v), true
	return ""
}

func (p *parser) atomicAggregate(v []byte) string {
	if len(v) != 0 {
		return octets(v, "0")
	}
	p.attrs.AtomicAggregate = true
	return ""
}

func (p *parser) communities(v []byte) string {
	if len(v) == 0 || len(v)%4 != 0 {
		return octets(v, "a multiple of 4")
	}
	start := len(p.words)
	for ; len(v) > 0; v = v[4:] {
		p.words = append(p.words, binary.BigEndian.Uint32(v))
	}
	p.attrs.Communities = p.words[start:len(p.words):len(p.words)]
	return ""
}

func (p *parser) originatorID(v []byte) string {
	if len(v) != 4 {
		return octets(v, "4")
	}
	p.attrs.OriginatorID = addr4(v)
	return ""
}

func (p *parser) clusterList(v []byte) string {
	if len(v) == 0 || len(v)%4 != 0 {
		return octets(v, "a multiple of 4")
	}
	list := make([]netip.Addr, 0, len(v)/4)
	for ; len(v) > 0; v = v[4:] {
		list = append(list, addr4(v))
	}
	p.attrs.ClusterList = list
	return ""
}

func (p *parser) extCommunities(v []byte) string {
	if len(v) == 0 || len(v)%8 != 0 {
		return octets(v, "a multiple of 8")
	}
	list := make([]uint64, 0, len(v)/8)
	for ; len(v) > 0; v = v[8:] {
		list = append(list, binary.BigEndian.Uint64(v))
	}
	p.attrs.ExtCommunities = list
	return ""
}

func (p *parser) largeCommunities(v []byte) string {
	if len(v) == 0 || len(v)%12 != 0 {
		return octets(v, "a multiple of 12")
	}
	list := make([]route.LargeCommunity, 0, len(v)/12)
	for ; len(v) > 0; v = v[12:] {
		list = append(list, route.LargeCommunity{Global: binary.BigEndian.Uint32(v),
			Local1: binary.BigEndian.Uint32(v[4:]), Local2: binary.BigEndian.Uint32(v[8:])})
	}
	p.attrs.LargeCommunities = list
	return ""
}

// octets says how long a value is and should be.
func octets(v []byte, want string) string {
	return fmt.Sprintf("has %d octets, must have %s", len(v), want)
}

// addr4 is the address in the first four octets.
func addr4(v []byte) netip.Addr { return netip.AddrFrom4([4]byte(v)) }
