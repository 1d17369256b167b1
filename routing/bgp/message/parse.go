package message

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// parser is the state of one ParseUpdate. It lives in the Update, so that it is not allocated for each message.
type parser struct {
	o *Options
	u *Update

	seen [4]uint64 // by type of attribute
	// field is all attributes. spans are where in it the values are that are to be decoded, by type, 0 where there is none.
	field   []byte
	spans   [attributeTypes]span
	unknown []route.Unknown
	// others says that there was, or was meant to be, another attribute than MP_UNREACH_NLRI.
	others bool

	nlri      []byte // the NLRI field
	fromField int    // how many of u.prefixes come from it; the others come from MP_REACH_NLRI
	nextHop   netip.Addr
	mp        struct {
		family             Family
		nextHop, linkLocal netip.Addr
	}

	attrs *route.Attrs // nil if there is nothing to decode
	words []uint32     // room for the numbers of AS_PATH and COMMUNITIES
}

// span is a part of the field of attributes. No value begins at its first octet.
type span struct{ start, end uint16 }

// value is the attribute's value that is to be decoded, nil where there is none.
func (p *parser) value(typ uint8) []byte {
	if s := p.spans[typ]; s.start != 0 {
		return p.field[s.start:s.end]
	}
	return nil
}

// ParseUpdate reads the body of an UPDATE message into u, whose slices it uses again. The error is a *NotificationError, and
// only there where the session must be reset; all other errors are treated as RFC 7606 says, and u.Treatment and u.Problem
// tell. After an error u.Problem says what was wrong, and the rest of u means nothing.
func ParseUpdate(body []byte, o *Options, u *Update) error {
	u.Withdrawn, u.Reach, u.prefixes = u.Withdrawn[:0], u.Reach[:0], u.prefixes[:0]
	u.EndOfRIB, u.Treatment, u.Problem = 0, Accepted, ""
	if !u.unused {
		u.block, u.words = nil, nil
	}
	u.parser = parser{o: o, u: u}
	return u.parser.update(body)
}

// update goes through the message in the order of its fields (RFC 4271 section 4.3).
func (p *parser) update(body []byte) error {
	withdrawn, attrs, nlri, ok := split(body)
	defer p.release()
	if !ok {
		return p.reset(UpdateMalformedAttributes, nil, "the lengths of withdrawn routes and attributes exceed the message")
	}
	if len(body) == 4 {
		p.endOfRIB(IPv4Unicast)
		return nil
	}
	if err := p.withdraw(withdrawn, IPv4Unicast, UpdateInvalidNetwork); err != nil {
		return err
	}
	p.field = attrs
	if err := p.scan(); err != nil {
		return err
	}
	if err := p.unreach(); err != nil {
		return err
	}
	p.nlri = nlri
	if err := p.reach(); err != nil {
		return err
	}
	p.decode()
	return p.finish()
}

// release lets go of what would keep the message and its attributes from being collected.
func (p *parser) release() {
	p.o, p.field, p.nlri, p.unknown, p.attrs, p.words = nil, nil, nil, nil, nil, nil
}

// split finds the three fields of an UPDATE.
func split(body []byte) (withdrawn, attrs, nlri []byte, ok bool) {
	if len(body) < 4 {
		return nil, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(body))
	if n > len(body)-4 {
		return nil, nil, nil, false
	}
	withdrawn, body = body[2:2+n], body[2+n:]
	n = int(binary.BigEndian.Uint16(body))
	if n > len(body)-2 {
		return nil, nil, nil, false
	}
	return withdrawn, body[2 : 2+n], body[2+n:], true
}

// reset is the treatment that ends the session.
func (p *parser) reset(subcode uint8, data []byte, problem string) error {
	p.u.Problem = problem
	return &NotificationError{Code: CodeUpdate, Subcode: subcode, Data: data}
}

// note records an error that does not end the session. The gravest stands, and of several the first (RFC 7606 section 3 h).
func (p *parser) note(t Treatment, problem string) {
	if t > p.u.Treatment {
		p.u.Treatment, p.u.Problem = t, problem
	}
}

func (p *parser) endOfRIB(f Family) {
	if p.o.Families.Has(f) {
		p.u.EndOfRIB = f
		return
	}
	p.note(PartIgnored, "End-of-RIB of "+f.String()+", which was not agreed on")
}

// withdraw appends the prefixes of b to Withdrawn.
func (p *parser) withdraw(b []byte, f Family, subcode uint8) error {
	out, _, ok := appendPrefixes(p.u.Withdrawn, b, f)
	if !ok {
		return p.reset(subcode, nil, "malformed withdrawn prefix of "+f.String())
	}
	if !p.o.Families.Has(f) && len(b) > 0 {
		p.note(PartIgnored, "withdrawn prefixes of "+f.String()+", which was not agreed on")
		return nil
	}
	p.u.Withdrawn = out
	return nil
}

// scan finds the attributes (RFC 4271 section 4.3, RFC 7606 sections 3 and 4) and leaves their values undecoded.
func (p *parser) scan() error {
	for b := p.field; len(b) > 0; {
		header := 3
		if b[0]&flagExtended != 0 {
			header = 4
		}
		if len(b) < header {
			p.others = true
			p.note(TreatAsWithdraw, fmt.Sprintf("%d octets at the end of the attributes are too few for another", len(b)))
			return nil
		}
		flags, typ, n := b[0], b[1], int(b[2])
		if header == 4 {
			n = int(binary.BigEndian.Uint16(b[2:]))
		}
		if n > len(b)-header {
			p.others = true
			p.note(TreatAsWithdraw, fmt.Sprintf("%s of %d octets exceeds the attributes", attributeName(typ), n))
			return nil
		}
		start := len(p.field) - len(b) + header
		if err := p.attribute(flags, typ, span{uint16(start), uint16(start + n)}, b[:header+n]); err != nil {
			return err
		}
		b = b[header+n:]
	}
	return nil
}

// attribute files one attribute; whole is it with its header.
func (p *parser) attribute(flags, typ uint8, value span, whole []byte) error {
	p.others = p.others || typ != attrMPUnreach
	word, bit := &p.seen[typ/64], uint64(1)<<(typ%64)
	if *word&bit != 0 {
		if typ == attrMPReach || typ == attrMPUnreach {
			return p.reset(UpdateMalformedAttributes, nil, attributeName(typ)+" twice")
		}
		p.note(AttributeDiscard, attributeName(typ)+" more than once")
		return nil
	}
	*word |= bit
	if int(typ) >= len(attributes) || attributes[typ].name == "" {
		return p.unknownAttribute(flags, typ, p.field[value.start:value.end], whole)
	}
	a := &attributes[typ]
	switch {
	case a.internal && !p.o.IBGP:
		p.note(AttributeDiscard, a.name+" from an external neighbour")
	case a.twoOctetAS && p.o.FourOctetAS:
		p.note(AttributeDiscard, a.name+" from a neighbour with 4-octet AS numbers")
	case flags&(flagOptional|flagTransitive) != a.flags:
		p.note(TreatAsWithdraw, fmt.Sprintf("%s with flags %#02x", a.name, flags))
		if typ == attrMPReach || typ == attrMPUnreach {
			p.spans[typ] = value // its prefixes are to be withdrawn
		}
	default:
		p.spans[typ] = value
	}
	return nil
}

// unknownAttribute keeps what must be passed on (RFC 4271 section 5).
func (p *parser) unknownAttribute(flags, typ uint8, value, whole []byte) error {
	switch {
	case flags&flagOptional == 0:
		return p.reset(UpdateUnrecognizedWellKnown, append([]byte(nil), whole...),
			fmt.Sprintf("%s is said to be well-known", attributeName(typ)))
	case flags&flagTransitive != 0:
		p.unknown = append(p.unknown, route.Unknown{Flags: flags &^ flagExtended, Type: typ, Value: value})
	}
	return nil
}

// unreach reads MP_UNREACH_NLRI (RFC 4760 section 4).
func (p *parser) unreach() error {
	v := p.value(attrMPUnreach)
	switch {
	case v == nil:
		return nil
	case len(v) < 3:
		return p.reset(UpdateOptionalAttribute, nil, fmt.Sprintf("MP_UNREACH_NLRI of %d octets", len(v)))
	}
	f := familyOf(binary.BigEndian.Uint16(v), v[2])
	if f == 0 {
		p.note(PartIgnored, fmt.Sprintf("withdrawn prefixes of AFI %d SAFI %d, which was not agreed on", binary.BigEndian.Uint16(v), v[2]))
		return nil
	}
	if len(v) == 3 && !p.others && len(p.u.Withdrawn) == 0 {
		p.endOfRIB(f)
		return nil
	}
	return p.withdraw(v[3:], f, UpdateOptionalAttribute)
}

// reach reads both fields of reachable prefixes into u.prefixes.
func (p *parser) reach() error {
	if err := p.prefixes(p.nlri, IPv4Unicast, UpdateInvalidNetwork); err != nil {
		return err
	}
	p.fromField = len(p.u.prefixes)
	if v := p.value(attrMPReach); v != nil {
		return p.mpReach(v)
	}
	return nil
}

// prefixes reads the reachable prefixes of one field.
func (p *parser) prefixes(b []byte, f Family, subcode uint8) error {
	if len(b) == 0 {
		return nil
	}
	out, ignored, ok := appendPrefixes(p.u.prefixes, b, f)
	if !ok {
		return p.reset(subcode, nil, "malformed prefix of "+f.String())
	}
	if !p.o.Families.Has(f) {
		p.note(PartIgnored, "prefixes of "+f.String()+", which was not agreed on")
		return nil
	}
	if ignored > 0 {
		p.note(PartIgnored, fmt.Sprintf("%d multicast or link-local prefixes of %s", ignored, f))
	}
	p.u.prefixes = out
	return nil
}

// finish joins prefixes and attributes, or withdraws the prefixes.
func (p *parser) finish() error {
	u := p.u
	if u.Treatment == TreatAsWithdraw {
		// Without reachable prefixes in sight nobody can say what is to be withdrawn (RFC 7606 section 5.2).
		if p.others && len(p.nlri) == 0 && p.value(attrMPReach) == nil {
			return p.reset(UpdateMalformedAttributes, nil, u.Problem+", and there are no prefixes to withdraw")
		}
		u.Withdrawn = append(u.Withdrawn, u.prefixes...)
		return nil
	}
	field, mp := u.prefixes[:p.fromField:p.fromField], u.prefixes[p.fromField:]
	attrs := p.attrs
	if len(field) > 0 {
		attrs.NextHop = p.nextHop
		u.Reach = append(u.Reach, Reach{Family: IPv4Unicast, Attrs: attrs, Prefixes: field})
	}
	if len(mp) > 0 {
		if len(field) > 0 {
			other := *attrs
			attrs = &other
		}
		attrs.NextHop, attrs.LinkLocal = p.mp.nextHop, p.mp.linkLocal
		u.Reach = append(u.Reach, Reach{Family: p.mp.family, Attrs: attrs, Prefixes: mp})
	}
	return nil
}
